//! `sockd emit --batch`: one event per line, many sent at once.

use std::{
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
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    EmitArgs,
    lines::{Event, Line, LineError, Lines},
    outcomes::{Fate, Outcome, Outcomes, Summary, conclude},
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

/// Lines queued in each channel: enough to keep every worker busy.
const WAITING: usize = 64;

/// After so many failures in a row to reach the node, the rest of the batch is not tried.
const GIVE_UP_AFTER: u32 = 50;

/// How long stdin may pause after an interruption before reading stops.
const LAST_CALL: Duration = Duration::from_millis(500);

type Read = io::Result<(Line, Option<LineError>)>;

pub(super) async fn run(args: EmitArgs, context: &Context) -> Result<(), Failure> {
    let path = args.batch.clone().unwrap_or_else(|| PathBuf::from("-"));
    let from_stdin = path == Path::new("-");
    if from_stdin && args.target.uses_stdin() {
        let error = anyhow!("stdin cannot hold both the secret and the batch; put one in a file");
        return Err(Failure::usage(error));
    }
    let (input, progress) = open(&path).map_err(Failure::usage)?;
    let client = args.target.client(context)?;
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
    let signals = Signals::listen().context("failed to listen for signals")?;
    let on_interrupt = tokio::spawn(interrupt(signals, stop.clone()));
    let (finished, arriving) = mpsc::channel(WAITING);
    let workers = (0..args.concurrency.get()).map(|_| {
        let (jobs, waiting) = mpsc::channel(WAITING);
        tokio::spawn(work(
            client.clone(),
            args.require_online,
            waiting,
            finished.clone(),
            stop.clone(),
        ));
        jobs
    });
    let dispatcher = Dispatcher {
        workers: workers.collect(),
        outcomes: finished,
        stop: stop.clone(),
        from_stdin,
    };
    let outcomes = Outcomes::new(progress, unsent, stop.clone());
    let (read, (count, lost, kept)) =
        tokio::join!(dispatcher.run(read(input)), outcomes.run(arriving));
    on_interrupt.abort();

    let summary = Summary {
        count,
        failed_file: kept.as_deref(),
    };
    let told = output::result(args.json, &summary, &summary);
    // Failures are reported even if stdout is closed.
    conclude(
        read,
        stop.reason.get().cloned(),
        &summary,
        &lost,
        args.require_online,
    )?;
    Ok(told?)
}

/// The input and its progress, in bytes if the length is known.
fn open(path: &Path) -> anyhow::Result<(Box<dyn BufRead + Send>, ProgressBar)> {
    if path == Path::new("-") {
        let progress = output::spinner("{spinner} {msg}");
        progress.enable_steady_tick(output::TICK);
        return Ok((Box::new(BufReader::new(io::stdin())), progress));
    }
    let what = || format!("{} cannot be read; give a file of NDJSON", path.display());
    let file = File::open(path).with_context(what)?;
    let metadata = file.metadata().with_context(what)?;
    if metadata.is_dir() {
        return Err(anyhow!("it is a directory").context(what()));
    }
    let length = metadata.len();
    let progress = output::bar(length, "[{bar:32}] {percent}% {msg} {elapsed}");
    Ok((
        Box::new(BufReader::with_capacity(256 * 1024, file)),
        progress,
    ))
}

/// Reads on a separate thread, since reading files and stdin blocks.
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

/// Hands lines to workers; those of one user go to the same worker, which keeps their order.
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
                // After an interruption the rest is read to be kept, but stdin may have no end.
                () = self.stop.last_call(), if self.from_stdin => None,
            };
            let Some(line) = line else { return Ok(()) };
            let (line, wrong) = line?;
            let parsed = match wrong {
                Some(wrong) => Err(wrong),
                None => line.parse(),
            };
            // The receivers outlive this loop.
            match parsed {
                Ok(event) => {
                    let worker = &self.workers[self.worker_of(&event)];
                    worker.send((line, event)).await.ok();
                }
                Err(error) => {
                    let fate = Fate::failed(&error.into());
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

/// Why the rest of a batch is not tried, if so.
#[derive(Default)]
pub(super) struct Stop {
    reason: OnceLock<StopReason>,
    interrupted: CancellationToken,
    unreachable_in_a_row: AtomicU32,
}

#[derive(Clone)]
pub(super) struct StopReason {
    pub(super) exit: Exit,
    pub(super) text: String,
}

impl Stop {
    fn reached(&self) {
        self.unreachable_in_a_row.store(0, Ordering::Relaxed);
    }

    /// Stops the batch if all other lines would fail in the same way.
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
    pub(super) fn because(&self, exit: Exit, text: String) {
        self.reason.get_or_init(|| StopReason { exit, text });
    }

    /// Resolves a moment after an interruption.
    async fn last_call(&self) {
        self.interrupted.cancelled().await;
        tokio::time::sleep(LAST_CALL).await;
    }
}

/// The first signal stops sending and keeps the lines that were not sent; the second exits immediately.
async fn interrupt(mut signals: Signals, stop: Arc<Stop>) {
    const EXIT_CODE: i32 = 130;
    let signal = signals.next().await;
    stop.because(Exit::Failed, format!("interrupted by {signal}"));
    output::note(format_args!(
        "interrupted by {signal}: waiting for pending answers; interrupt again to exit at once, without keeping the rest"
    ));
    stop.interrupted.cancel();
    signals.next().await;
    std::process::exit(EXIT_CODE);
}
