//! The outcome of each line of a batch: counted, shown, and kept if it failed.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    batch::{Stop, StopReason},
    lines::Line,
    unsent::Unsent,
};
use crate::cli::{
    failure::{Exit, Failure},
    output,
};

/// A line and what happened to it.
pub(super) struct Outcome {
    pub(super) line: Line,
    pub(super) fate: Fate,
}

pub(super) enum Fate {
    Sent {
        is_offline: bool,
    },
    /// The user has no socket, and `--require-online` makes that a failure.
    Offline,
    Failed {
        reason: String,
        /// The event may still have been delivered.
        is_uncertain: bool,
    },
    /// Not tried because the batch was stopped.
    Skipped,
}

impl Fate {
    /// For an event that was certainly not sent.
    pub(super) fn failed(error: &anyhow::Error) -> Self {
        Self::Failed {
            reason: format!("{error:#}"),
            is_uncertain: false,
        }
    }
}

/// Counts outcomes, shows progress, and keeps the lines that failed.
pub(super) struct Outcomes {
    progress: ProgressBar,
    unsent: Unsent,
    stop: Arc<Stop>,
    count: Count,
    lost: Lost,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Count {
    sent: u64,
    /// Events that were sent, but whose user had no socket.
    offline: u64,
    failed: u64,
    /// Failed lines whose event may still have been delivered.
    uncertain: u64,
    /// Failed lines that were not tried because the batch was stopped.
    skipped: u64,
}

impl Outcomes {
    pub(super) fn new(progress: ProgressBar, unsent: Unsent, stop: Arc<Stop>) -> Self {
        Self {
            progress,
            unsent,
            stop,
            count: Count::default(),
            lost: Lost::default(),
        }
    }

    /// Returns the counts, the failed lines that could not be kept, and the file with the others.
    pub(super) async fn run(
        mut self,
        mut outcomes: mpsc::Receiver<Outcome>,
    ) -> (Count, Lost, Option<PathBuf>) {
        while let Some(Outcome { line, fate }) = outcomes.recv().await {
            match fate {
                Fate::Sent { is_offline } => {
                    self.count.sent += 1;
                    self.count.offline += u64::from(is_offline);
                }
                Fate::Offline => {
                    self.count.offline += 1;
                    self.fail(&line, "the user has no socket");
                }
                Fate::Failed {
                    reason,
                    is_uncertain,
                } => {
                    self.count.uncertain += u64::from(is_uncertain);
                    self.fail(&line, &reason);
                }
                Fate::Skipped => {
                    self.count.skipped += 1;
                    self.keep(&line);
                }
            }
            let position = self.progress.position().max(line.end);
            self.progress.set_position(position);
            let Count { sent, failed, .. } = self.count;
            self.progress
                .set_message(format!("{sent} sent, {failed} failed"));
        }
        self.progress.finish_and_clear();
        (self.count, self.lost, self.unsent.finish())
    }

    fn fail(&mut self, line: &Line, reason: &str) {
        let number = line.number;
        self.progress
            .suspend(|| output::note(format_args!("line {number}: {reason}")));
        self.keep(line);
    }

    /// Once lines cannot be kept, stops the batch and remembers their numbers.
    fn keep(&mut self, line: &Line) {
        self.count.failed += 1;
        if line.text.is_empty() {
            return;
        }
        if self.lost.is_empty() {
            match self.unsent.keep(&line.text) {
                Ok(()) => return,
                Err(error) => self.stop.because(Exit::Failed, format!("{error:#}")),
            }
        }
        self.lost.add(line.number);
    }
}

/// The numbers of failed lines that could not be kept, printed as `line 3, 7-9000`.
#[derive(Debug, Default)]
pub(super) struct Lost(BTreeSet<u64>);

impl Lost {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, number: u64) {
        self.0.insert(number);
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for &number in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.push((number, number)),
            }
        }
        f.write_str("line ")?;
        for (index, (first, last)) in runs.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
        }
        Ok(())
    }
}

/// The result of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary<'a> {
    #[serde(flatten)]
    pub(super) count: Count,
    pub(super) failed_file: Option<&'a Path>,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Count {
            sent,
            offline,
            failed,
            ..
        } = self.count;
        write!(f, "sent {sent}, failed {failed}, offline {offline}")
    }
}

/// The error and exit code of the whole batch.
///
/// # Errors
/// Any line failed, the batch was stopped, or its input could not be read.
pub(super) fn conclude(
    read: io::Result<()>,
    stopped: Option<StopReason>,
    summary: &Summary<'_>,
    lost: &Lost,
    require_online: bool,
) -> Result<(), Failure> {
    let Count {
        offline,
        failed,
        uncertain,
        skipped,
        ..
    } = summary.count;
    let mut kept = summary.failed_file.map_or_else(String::new, |path| {
        let path = path.display();
        format!("; the lines that failed are in {path}, send them again with --batch {path}")
    });
    if uncertain > 0 {
        kept += &format!(
            "; {uncertain} of them may have been delivered already, and would arrive twice"
        );
    }
    if !lost.is_empty() {
        kept += &format!("; not kept in any file: {lost}");
    }
    if let Some(StopReason { exit, text }) = stopped {
        let error =
            anyhow!("{text}").context(format!("stopped, {} not tried{kept}", lines_were(skipped)));
        return Err(Failure::new(exit, error));
    }
    read.with_context(|| format!("failed to read the rest of the batch{kept}"))?;
    if failed == 0 {
        return Ok(());
    }
    let all_offline = require_online && failed == offline;
    let exit = if all_offline {
        Exit::Offline
    } else {
        Exit::Failed
    };
    let lines = if failed == 1 { "line" } else { "lines" };
    Err(Failure::new(exit, anyhow!("{failed} {lines} failed{kept}")))
}

fn lines_were(count: u64) -> String {
    match count {
        1 => "1 line was".to_owned(),
        _ => format!("{count} lines were"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_lines_are_printed_as_ranges() {
        let mut lost = Lost::default();
        assert!(lost.is_empty());
        for number in [9, 3, 8, 7, 12] {
            lost.add(number);
        }
        assert_eq!(lost.to_string(), "line 3, 7-9, 12");
    }
}
