//! Everything that the commands print: results on stdout, everything else on stderr.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use thiserror::Error;
use tokio::task::spawn_blocking;

use super::failure::Failure;
use crate::{
    config::Problems,
    id::NodeId,
    telemetry::{self, wants_colour},
    wire::Answered,
};

/// A result that could not be written to stdout.
#[derive(Debug, Error)]
pub(super) enum OutputError {
    /// The reader, such as `head`, has closed the pipe.
    #[error("stdout is closed")]
    Closed,
    #[error("cannot write the result to stdout")]
    Failed(#[source] io::Error),
}

/// Results on their way to stdout, line by line.
///
/// They are buffered, so that a long list costs few system calls. [`Results::finish`] writes the
/// rest of the buffer; a command that fails drops it.
#[derive(Default)]
pub(super) struct Results {
    buffer: Vec<u8>,
    progress: Option<ProgressBar>,
}

impl Results {
    const BUFFER: usize = 32 * 1024;

    /// Results printed beside a progress bar, which is hidden during each write.
    pub(super) fn beside(progress: &ProgressBar) -> Self {
        Self {
            buffer: Vec::new(),
            progress: Some(progress.clone()),
        }
    }

    /// # Errors
    /// Writing to stdout failed.
    pub(super) fn line(&mut self, text: impl Display) -> Result<(), OutputError> {
        writeln!(self.buffer, "{text}").map_err(OutputError::Failed)?;
        self.flush_if_full()
    }

    /// # Errors
    /// Writing to stdout failed.
    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), OutputError> {
        serde_json::to_writer(&mut self.buffer, value)
            .map_err(|error| OutputError::Failed(error.into()))?;
        self.buffer.push(b'\n');
        self.flush_if_full()
    }

    /// # Errors
    /// Writing to stdout failed.
    pub(super) fn flush(&mut self) -> Result<(), OutputError> {
        let buffer = std::mem::take(&mut self.buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        let write = || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&buffer)?;
            stdout.flush()
        };
        let written = match &self.progress {
            Some(progress) => progress.suspend(write),
            None => write(),
        };
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => OutputError::Closed,
            _ => OutputError::Failed(error),
        })
    }

    /// # Errors
    /// Writing to stdout failed.
    pub(super) fn finish(mut self) -> Result<(), OutputError> {
        self.flush()
    }

    fn flush_if_full(&mut self) -> Result<(), OutputError> {
        if self.buffer.len() >= Self::BUFFER {
            self.flush()?;
        }
        Ok(())
    }
}

/// Prints one result, as JSON or as text.
///
/// # Errors
/// Writing to stdout failed.
pub(super) fn result(
    as_json: bool,
    value: &impl Serialize,
    text: impl Display,
) -> Result<(), OutputError> {
    let mut results = Results::default();
    if as_json {
        results.json(value)?;
    } else {
        results.line(text)?;
    }
    results.finish()
}

/// Prints a line on another thread, so that a signal can end the command while nothing reads stdout.
///
/// # Errors
/// Writing to stdout failed.
pub(super) async fn print(line: String) -> Result<(), OutputError> {
    let print = move || {
        let mut results = Results::default();
        results.line(line)?;
        results.finish()
    };
    let printed = spawn_blocking(print).await;
    printed.unwrap_or_else(|error| Err(OutputError::Failed(error.into())))
}

/// A result as JSON, on one line.
///
/// # Errors
/// As for [`print`].
pub(super) fn json(value: &impl Serialize) -> Result<String, OutputError> {
    serde_json::to_string(value).map_err(|error| OutputError::Failed(error.into()))
}

/// Prints a note to stderr.
pub(super) fn note(text: impl Display) {
    telemetry::note(text);
}

/// Prints the error and its causes, and returns the exit code.
pub(super) fn failure(failure: &Failure) -> ExitCode {
    let Some(error) = &failure.error else {
        return failure.exit.into();
    };
    if let Some(OutputError::Closed) = error.downcast_ref() {
        return ExitCode::SUCCESS;
    }
    let label = paint("error:", Colour::Red, &io::stderr());
    if let Some(problems) = error.downcast_ref::<Problems>() {
        problems
            .iter()
            .for_each(|problem| note(format_args!("{label} {problem}")));
        return failure.exit.into();
    }
    note(format_args!("{label} {error}"));
    for cause in error.chain().skip(1) {
        note(format_args!("  caused by: {cause}"));
    }
    failure.exit.into()
}

/// Prints a warning about something that works, but probably not as intended.
pub(super) fn warning(text: impl Display) {
    note(format_args!(
        "{} {text}",
        paint("warning:", Colour::Yellow, &io::stderr())
    ));
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

/// Colours a word, if the output is a terminal that wants colour.
pub(super) fn paint<'a>(word: &'a str, colour: Colour, to: &impl IsTerminal) -> Cow<'a, str> {
    if !wants_colour(to) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("\x1b[1;{}m{word}\x1b[0m", colour as u8))
}

/// A progress bar with a known or estimated length; hidden unless stderr is a terminal.
pub(super) fn bar(length: u64, template: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    styled(bar, template)
}

/// A spinner for an unknown length; hidden unless stderr is a terminal.
pub(super) fn spinner(template: &'static str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    styled(spinner, template)
}

fn styled(bar: ProgressBar, template: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .expect("the templates are constants of this crate")
        .progress_chars("=> ");
    bar.set_style(style);
    bar
}

/// Prints rows with aligned columns.
///
/// # Errors
/// Writing to stdout failed.
pub(super) fn table<const COLUMNS: usize>(
    rows: impl Iterator<Item = [String; COLUMNS]>,
    results: &mut Results,
) -> Result<(), OutputError> {
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: String = cells
            .map(|(cell, width)| format!("{cell:width$}  "))
            .collect();
        results.line(line.trim_end())?;
    }
    Ok(())
}

/// Text of a server that is safe to print: an unknown one could send escape sequences.
pub(super) fn visible(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Why a node has not answered, in words; `None` if it has.
pub(super) fn unanswered(node: &NodeId, release: &str, answered: Answered) -> Option<String> {
    let why = match answered {
        Answered::Yes => return None,
        Answered::TimedOut => "does not answer in time".to_owned(),
        Answered::Unreachable => "cannot be reached over Redis".to_owned(),
        Answered::TooOld => {
            let release = visible(release);
            format!("of release {release} does not know the question, upgrade it")
        }
    };
    Some(format!("node {} {why}", visible(node.as_str())))
}

/// A span of time in its two largest units: `6d 23h`, `59m 3s`.
pub(super) fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let first = UNITS
        .iter()
        .position(|(size, _)| seconds >= *size)
        .unwrap_or(UNITS.len() - 1);
    let (size, unit) = UNITS[first];
    let whole = format!("{}{unit}", seconds / size);
    match UNITS.get(first + 1) {
        Some((next, unit)) if seconds % size >= *next => {
            format!("{whole} {}{unit}", seconds % size / next)
        }
        _ => whole,
    }
}

/// A number of sockets in words: `1 socket`, `2 sockets`.
pub(super) fn sockets(count: u64) -> String {
    match count {
        1 => "1 socket".to_owned(),
        count => format!("{count} sockets"),
    }
}

/// How often a spinner turns when nothing else redraws it.
pub(super) const TICK: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_printed_in_two_units() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m 1s"),
            (3_600, "1h"),
            (3_601, "1h"),
            (7_260, "2h 1m"),
            (604_799, "6d 23h"),
            (604_800, "7d"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
