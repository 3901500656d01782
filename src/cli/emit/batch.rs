//! `sockd emit --batch`: one event per line, many under way at once.

use std::{
    fmt,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    EmitArgs,
    lines::{Event, Line, LineError, Lines, Lost},
    unsent::Unsent,
};
use crate::{
    cli::{
        Context,
        failure::{Exit, Failure},
        output,
    },
    client::{Client, ClientError},
    lifecycle::Signals,
};

/// Lines that wait in each channel: enough to keep everybody busy, few enough to cost nothing.
const WAITING: usize = 64;

/// Failures in a row to reach the instance after which the rest of the batch is not tried.
const GIVE_UP_AFTER: u32 = 50;

/// How long after an interruption stdin may pause before nothing more is expected of it.
const LAST_CALL: Duration = Duration::from_millis(500);

type Read = io::Result<(Line, Option<LineError>)>;

pub(super) async fn run(args: EmitArgs, context: &Context) -> Result<(), Failure> {
    let path = args.batch.clone().unwrap_or_else(|| PathBuf::from("-"));
    let from_stdin = path == Path::new("-");
    if from_stdin && args.instance.uses_stdin() {
        let error = anyhow!("stdin cannot be both the secret and the batch; put one in a file");
        return Err(Failure::usage(error));
    }
    let (input, progress) = open(&path).map_err(Failure::usage)?;
    let client = args.instance.client(context)?;
    let wanted = args.failed.clone().unwrap_or_else(|| {
        let name = if from_stdin {
            "sockd-emit"
        } else {
            &path.to_string_lossy()
        };
        PathBuf::from(format!("{name}.failed.ndjson"))
    });
    let unsent = Unsent::create(&wanted).map_err(Failure::usage)?;
    if unsent.path() != wanted {
        output::note(format_args!(
            "{} exists; lines that fail are kept in {}",
            wanted.display(),
            unsent.path().display()
        ));
    }

    let stop = Arc::new(Stop::default());
    let signals = Signals::listen().context("signals cannot be listened to")?;
    let on_interrupt = tokio::spawn(interrupt(signals, stop.clone()));
    let (outcomes, arriving) = mpsc::channel(WAITING);
    let workers = (0..args.concurrency.get()).map(|_| {
        let (jobs, waiting) = mpsc::channel(WAITING);
        tokio::spawn(work(
            client.clone(),
            args.require_online,
            waiting,
            outcomes.clone(),
            stop.clone(),
        ));
        jobs
    });
    let dispatcher = Dispatcher {
        workers: workers.collect(),
        outcomes,
        stop: stop.clone(),
        from_stdin,
    };
    let tally = Tally {
        progress,
        unsent,
        stop: stop.clone(),
        count: Count::default(),
        lost: Lost::default(),
    };
    let (read, (count, lost, kept)) =
        tokio::join!(dispatcher.run(read(input)), tally.run(arriving));
    on_interrupt.abort();

    let summary = Summary {
        count,
        failed_file: kept.as_deref(),
    };
    let told = output::result(args.json, &summary, &summary);
    // Who has stopped reading stdout still learns what has failed.
    verdict(
        read,
        stop.reason.get().cloned(),
        &summary,
        &lost,
        args.require_online,
    )?;
    Ok(told?)
}

/// The input and how far it has been dealt with: in bytes where the length is known.
fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, ProgressBar)> {
    if path == Path::new("-") {
        let progress = output::spinner("{spinner} {msg}");
        progress.enable_steady_tick(output::TICK);
        return Ok((Box::new(BufReader::new(io::stdin())), progress));
    }
    let what = || format!("{} cannot be read; give a file of NDJSON", path.display());
    let file = File::open(path).with_context(what)?;
    let length = file.metadata().with_context(what)?.len();
    let progress = output::bar(length, "[{bar:32}] {percent}% {msg} {elapsed}");
    Ok((
        Box::new(BufReader::with_capacity(256 * 1024, file)),
        progress,
    ))
}

/// Reads on a thread of its own, since neither files nor stdin can be waited for.
fn read(input: Box<dyn BufRead + Send>) -> mpsc::Receiver<Read> {
    let (lines, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut input = Lines::new(input);
        while let Some(line) = input.next().transpose() {
            let is_last = line.is_err();
            if lines.blocking_send(line).is_err() || is_last {
                break;
            }
        }
    });
    receiver
}

/// Hands lines to workers, those of one user always to the same, which keeps their order.
struct Dispatcher {
    workers: Vec<mpsc::Sender<(Line, Event)>>,
    outcomes: mpsc::Sender<Outcome>,
    stop: Arc<Stop>,
    from_stdin: bool,
}

impl Dispatcher {
    async fn run(self, mut lines: mpsc::Receiver<Read>) -> io::Result<()> {
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                // What was not sent is read to its end to be kept; stdin may have no end.
                () = self.stop.last_call(), if self.from_stdin => None,
            };
            let Some(line) = line else { return Ok(()) };
            let (line, wrong) = line?;
            let parsed = match wrong {
                Some(wrong) => Err(wrong),
                None => line.parse(),
            };
            // The tally takes outcomes for as long as there is anybody to send them.
            match parsed {
                Ok(event) => {
                    let worker = &self.workers[self.worker_of(&event)];
                    worker.send((line, event)).await.ok();
                }
                Err(error) => {
                    let fate = Fate::failed(error);
                    self.outcomes.send(Outcome { line, fate }).await.ok();
                }
            }
        }
    }

    fn worker_of(&self, event: &Event) -> usize {
        let mut hasher = DefaultHasher::new();
        event.user.hash(&mut hasher);
        let count = self.workers.len() as u64;
        usize::try_from(hasher.finish() % count).unwrap_or_default()
    }
}

async fn work(
    client: Client,
    require_online: bool,
    mut jobs: mpsc::Receiver<(Line, Event)>,
    outcomes: mpsc::Sender<Outcome>,
    stop: Arc<Stop>,
) {
    while let Some((line, event)) = jobs.recv().await {
        let fate = if stop.reason.get().is_some() {
            Fate::Skipped
        } else {
            let answer = client.emit(&event.user, &event.name, event.payload.as_deref());
            match answer.await {
                Ok(answer) => {
                    stop.reached();
                    let is_offline = answer.online == Some(false);
                    if is_offline && require_online {
                        Fate::Offline
                    } else {
                        Fate::Sent { is_offline }
                    }
                }
                Err(error) => stop.judge(error),
            }
        };
        if outcomes.send(Outcome { line, fate }).await.is_err() {
            return;
        }
    }
}

/// What became of a line.
struct Outcome {
    line: Line,
    fate: Fate,
}

enum Fate {
    Sent {
        is_offline: bool,
    },
    /// The user has no socket, and that was asked to be a failure.
    Offline,
    Failed {
        reason: String,
        /// The event may have been delivered all the same.
        is_uncertain: bool,
    },
    /// Not tried, since the batch was stopped before.
    Skipped,
}

impl Fate {
    /// For what was certainly not sent.
    fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed {
            reason: reason.to_string(),
            is_uncertain: false,
        }
    }
}

/// Why the rest of a batch is not tried, once there is such a reason.
#[derive(Default)]
struct Stop {
    reason: OnceLock<StopReason>,
    interrupted: CancellationToken,
    unreachable_in_a_row: AtomicU32,
}

#[derive(Clone)]
struct StopReason {
    exit: Exit,
    text: String,
}

impl Stop {
    fn reached(&self) {
        self.unreachable_in_a_row.store(0, Ordering::Relaxed);
    }

    /// Stops the batch if every other line would fail in the same way.
    fn judge(&self, error: ClientError) -> Fate {
        let is_uncertain = error.may_be_done();
        let is_hopeless = match &error {
            ClientError::Unauthorized(_) => true,
            error if error.is_unreachable() => {
                self.unreachable_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= GIVE_UP_AFTER
            }
            _ => {
                self.reached();
                false
            }
        };
        let failure = Failure::from(error);
        let reason = failure.to_string();
        if is_hopeless {
            self.because(failure.exit, reason.clone());
            if !is_uncertain {
                return Fate::Skipped;
            }
        }
        Fate::Failed {
            reason,
            is_uncertain,
        }
    }

    /// The first reason counts.
    fn because(&self, exit: Exit, text: String) {
        self.reason.get_or_init(|| StopReason { exit, text });
    }

    /// Comes once the person has interrupted, and a moment has passed since.
    async fn last_call(&self) {
        self.interrupted.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    }
}

/// The first signal stops sending but still keeps what was not sent; the second ends at once.
async fn interrupt(mut signals: Signals, stop: Arc<Stop>) {
    const EXIT_CODE: i32 = 130;
    let signal = signals.next().await;
    stop.because(Exit::Failed, format!("interrupted by {signal}"));
    output::note(format_args!(
        "interrupted by {signal}: waiting for the answers under way; once more to end at once"
    ));
    stop.interrupted.cancel();
    signals.next().await;
    std::process::exit(EXIT_CODE);
}

/// Counts, shows and keeps what became of the lines.
struct Tally {
    progress: ProgressBar,
    unsent: Unsent,
    stop: Arc<Stop>,
    count: Count,
    lost: Lost,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    sent: u64,
    /// Of those sent, the ones whose users had no socket.
    offline: u64,
    failed: u64,
    /// Of those failed, the ones that may have been delivered all the same.
    uncertain: u64,
    /// Of those failed, the ones that were not tried because the batch was stopped.
    skipped: u64,
}

impl Tally {
    /// The counts, the lines that failed and are not kept, and the file that holds those that are.
    async fn run(
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

    /// Where lines cannot be kept any more, nothing more is sent, and their numbers are.
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

/// The result of a batch.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(flatten)]
    count: Count,
    failed_file: Option<&'a Path>,
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

fn verdict(
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
            "; {uncertain} of them may have been delivered all the same, and would come twice"
        );
    }
    if !lost.is_empty() {
        kept += &format!("; kept in no file: {lost}");
    }
    if let Some(StopReason { exit, text }) = stopped {
        let error =
            anyhow!("{text}").context(format!("stopped, {} not tried{kept}", lines_were(skipped)));
        return Err(Failure::new(exit, error));
    }
    read.with_context(|| format!("the batch cannot be read to its end{kept}"))?;
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
