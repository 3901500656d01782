//! Packets of a Socket.IO server, as far as sockd sends them.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

/// An event with its first argument, on one line.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: String,
    pub(super) payload: Box<RawValue>,
}

/// A packet; what has no meaning for a listener is [`Packet::Other`].
#[derive(Debug)]
pub(super) enum Packet {
    /// The transport is open; a ping comes at least this often.
    Open(Duration),
    Ping,
    /// The socket is in.
    Connected,
    /// The socket is not let in, for this reason.
    Refused(String),
    /// The server ends the socket.
    Disconnected,
    Event(Event),
    Other,
}

impl Packet {
    /// # Errors
    /// The packet's JSON is not what the protocol says.
    pub(super) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let socket_io = text.strip_prefix('4').unwrap_or_default();
        Ok(match (text.as_bytes(), socket_io.as_bytes()) {
            ([b'0', ..], _) => Self::Open(patience(&text[1..])?),
            ([b'2', ..], _) => Self::Ping,
            (_, [b'0', ..]) => Self::Connected,
            (_, [b'1', ..]) => Self::Disconnected,
            (_, [b'2', ..]) => Self::Event(event(&socket_io[1..])?),
            (_, [b'4', ..]) => Self::Refused(reason(&socket_io[1..])?),
            _ => Self::Other,
        })
    }
}

/// How long a live server is silent at most.
fn patience(json: &str) -> Result<Duration, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Open {
        ping_interval: u64,
        ping_timeout: u64,
    }
    let Open {
        ping_interval,
        ping_timeout,
    } = serde_json::from_str(json)?;
    Ok(Duration::from_millis(
        ping_interval.saturating_add(ping_timeout),
    ))
}

fn reason(json: &str) -> Result<String, serde_json::Error> {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let Refusal { message } = serde_json::from_str(json)?;
    // It is printed, and the server may be a stranger.
    Ok(message
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect())
}

fn event(text: &str) -> Result<Event, serde_json::Error> {
    // An event that wants an acknowledgement has a number before it.
    let json = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut parts = serde_json::from_str::<Vec<&RawValue>>(json)?.into_iter();
    let name = parts.next().unwrap_or(RawValue::NULL);
    let name = serde_json::from_str(name.get())?;
    let payload = parts.next().unwrap_or(RawValue::NULL);
    Ok(Event {
        name,
        payload: one_line(payload),
    })
}

/// The same JSON without its line breaks and tabs, which can be only between its tokens.
fn one_line(json: &RawValue) -> Box<RawValue> {
    let text = json.get();
    if !text.contains(['\n', '\r', '\t']) {
        return json.to_owned();
    }
    RawValue::from_string(text.replace(['\n', '\r', '\t'], "")).unwrap_or_else(|_| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_payload_is_its_first_argument_as_it_was_written() {
        for (text, name, payload) in [
            (
                r#"42["a",{"n":9007199254740993}]"#,
                "a",
                r#"{"n":9007199254740993}"#,
            ),
            (r#"42["a:b"]"#, "a:b", "null"),
            (r#"4217["\u0061",1e400,"offset"]"#, "a", "1e400"),
            (
                "42[\"a\",{\r\n\t\"b\": \"\\n c\"\n}]",
                "a",
                r#"{"b": "\n c"}"#,
            ),
        ] {
            let Packet::Event(event) = Packet::parse(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!((event.name.as_str(), event.payload.get()), (name, payload));
        }
        for text in [
            "42", "42{}", "42[]", "42[1]", "42[\"a\"", "0{}", "44{}", "0",
        ] {
            assert!(Packet::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn packets_are_told_apart() {
        let open =
            r#"0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#;
        assert!(
            matches!(Packet::parse(open).unwrap(), Packet::Open(patience) if patience.as_secs() == 45)
        );
        assert!(matches!(Packet::parse("2").unwrap(), Packet::Ping));
        assert!(matches!(
            Packet::parse(r#"40{"sid":"x"}"#).unwrap(),
            Packet::Connected
        ));
        assert!(matches!(Packet::parse("41").unwrap(), Packet::Disconnected));
        let refused = Packet::parse("44{\"message\":\"NO\\u001b[2J\"}").unwrap();
        assert!(matches!(refused, Packet::Refused(reason) if reason == "NO[2J"));
        for text in ["", "4", "1", "6", "43[]", "é"] {
            assert!(
                matches!(Packet::parse(text).unwrap(), Packet::Other),
                "{text}"
            );
        }
    }
}
