//! Random input for the code that reads untrusted bytes.
//!
//! A target takes bytes and panics if they were handled wrongly. Each file in
//! `tests/fuzz/corpus/TARGET` is given to it first, then variations of these files and generated input
//! for as long as `SOCKD_FUZZ_SECONDS` says. The input of a failure is printed as the command that
//! adds it to the corpus.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    panic,
    path::Path,
    time::Duration,
};

use arbtest::{
    arbitrary::{Result, Unstructured},
    arbtest,
};

/// Generates plausible input.
pub(super) type Generate = fn(&mut Unstructured<'_>) -> Result<Vec<u8>>;

/// Gives a target its corpus, then random input.
pub(super) fn fuzz(name: &str, target: fn(&[u8]), generate: Generate) {
    let corpus = corpus(name);
    corpus.iter().for_each(|input| check(name, target, input));
    let seconds = env::var("SOCKD_FUZZ_SECONDS").map_or(10, |seconds| {
        seconds.parse().expect("SOCKD_FUZZ_SECONDS is a number")
    });
    arbtest(|random| {
        let mut input = if random.ratio(1, 2)? {
            generate(random)?
        } else {
            random.choose(&corpus)?.clone()
        };
        for _ in 0..random.int_in_range(0..=4)? {
            vary(&mut input, &corpus, random)?;
        }
        check(name, target, &input);
        Ok(())
    })
    .budget(Duration::from_secs(seconds));
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let files = fs::read_dir(folder.join(name)).expect("the target has a corpus");
    let read = |file: io::Result<fs::DirEntry>| {
        fs::read(file.expect("an entry").path()).expect("a file that can be read")
    };
    let corpus: Vec<_> = files.map(read).collect();
    assert!(!corpus.is_empty(), "the corpus of {name} is empty");
    corpus
}

fn check(name: &str, target: fn(&[u8]), input: &[u8]) {
    if panic::catch_unwind(|| target(input)).is_err() {
        let mut octal = String::new();
        input
            .iter()
            .for_each(|byte| write!(octal, "\\{byte:03o}").expect("a text takes all"));
        panic!("keep this input: printf '{octal}' > tests/fuzz/corpus/{name}/NEW");
    }
}

/// Changes the input in one place.
fn vary(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Unstructured<'_>) -> Result<()> {
    let start = random.int_in_range(0..=input.len())?;
    let end = random.int_in_range(start..=input.len().min(start + 16))?;
    let new = match random.int_in_range(0..=4)? {
        0 => Vec::new(),
        1 => random.bytes(1)?.to_vec(),
        2 => input[start..end].repeat(2),
        3 => {
            let other = random.choose(corpus)?;
            let from = random.int_in_range(0..=other.len())?;
            other[from..].to_vec()
        }
        _ => {
            let bit = 1 << random.int_in_range(0..=7)?;
            input[start..end].iter().map(|byte| byte ^ bit).collect()
        }
    };
    input.splice(start..end, new);
    Ok(())
}

/// The stream of a peer that has sent these bytes, and reads whatever it is sent.
pub(super) struct Peer<'a>(pub(super) &'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
