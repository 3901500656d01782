//! What goes over a connection: commands, and replies in RESP3.

pub(crate) type Command = Vec<Vec<u8>>;

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Ok,
    Error(String),
    Integer(i64),
    Text(Vec<u8>),
    Null,
    List(Vec<Reply>),
    Map(Vec<(&'static str, Reply)>),
}

impl Reply {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    pub(super) fn error(text: &str) -> Self {
        Self::Error(text.to_owned())
    }

    /// As RESP3.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let line = |out: &mut Vec<u8>, kind: char, text: &str| {
            out.extend_from_slice(format!("{kind}{text}\r\n").as_bytes());
        };
        match self {
            Self::Ok => line(out, '+', "OK"),
            Self::Error(text) => line(out, '-', text),
            Self::Integer(number) => line(out, ':', &number.to_string()),
            Self::Text(text) => {
                line(out, '$', &text.len().to_string());
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Self::Null => line(out, '_', ""),
            Self::List(items) => {
                line(out, '*', &items.len().to_string());
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(entries) => {
                line(out, '%', &entries.len().to_string());
                for (key, value) in entries {
                    Self::text(key).encode(out);
                    value.encode(out);
                }
            }
        }
    }
}

/// Takes the complete commands from the start of the bytes.
pub(crate) fn take_commands(bytes: &mut Vec<u8>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut taken = 0;
    while let Some((command, length)) = parse(&bytes[taken..]) {
        commands.push(command);
        taken += length;
    }
    bytes.drain(..taken);
    commands
}

/// The first command, and how many bytes it is long.
fn parse(bytes: &[u8]) -> Option<(Command, usize)> {
    let mut at = 0;
    let number = |kind: u8, at: &mut usize| -> Option<usize> {
        let end = bytes[*at..].windows(2).position(|two| two == b"\r\n")? + *at;
        assert_eq!(bytes[*at], kind, "not a command");
        let number = std::str::from_utf8(&bytes[*at + 1..end]).ok()?.parse().ok();
        *at = end + 2;
        number
    };
    let count = number(b'*', &mut at)?;
    let mut command = Vec::with_capacity(count);
    for _ in 0..count {
        let length = number(b'$', &mut at)?;
        command.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= bytes.len()).then_some((command, at))
}
