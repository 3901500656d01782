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
};

use anyhow::{Context as _, anyhow};
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    EmitArgs,
    lines::{Event, Line, LineError, Lines},
    unsent::Unsent,
};
use crate::{
    cli::{
        Context,
        failure::{Exit, Failure},
        output,
    },
    client::{Client, ClientError},
};

/// Lines that wait in each channel: enough to keep everybody busy, few enough to cost nothing.
const WAITING: usize = 64;

/// Failures in a row to reach the instance after which the rest of the batch is not tried.
const GIVE_UP_AFTER: u32 = 50;

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
    let on_interrupt = tokio::spawn(interrupt(stop.clone()));
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
        count: Count::default(),
    };
    let (read, (count, kept)) = tokio::try_join!(
        async { Ok(dispatcher.run(read(input)).await) },
        tally.run(arriving)
    )?;
    on_interrupt.abort();

    let summary = Summary {
        count,
        failed_file: kept.as_deref(),
    };
    output::result(args.json, &summary, &summary)?;
    verdict(
        read,
        stop.reason.get().cloned(),
        &summary,
        args.require_online,
    )
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
                // A file is read to its end even so, to keep its lines; stdin may have none.
                () = self.stop.interrupted.cancelled(), if self.from_stdin => None,
            };
            let Some(line) = line else { return Ok(()) };
            let (line, wrong) = line?;
            let parsed = match wrong {
                Some(wrong) => Err(wrong),
                None => line.parse(),
            };
            // A closed channel means that the tally has failed, which ends everything.
            match parsed {
                Ok(event) => {
                    let worker = &self.workers[self.worker_of(&event)];
                    worker.send((line, event)).await.ok();
                }
                Err(error) => {
                    let fate = Fate::Failed(error.to_string());
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
    Failed(String),
    /// Not tried, since the batch was stopped before.
    Skipped,
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
        let is_hopeless = match &error {
            ClientError::Unauthorized(_) => true,
            ClientError::Unreachable { .. } => {
                self.unreachable_in_a_row.fetch_add(1, Ordering::Relaxed) + 1 >= GIVE_UP_AFTER
            }
            _ => {
                self.reached();
                false
            }
        };
        let failure = Failure::from(error);
        let text = failure.to_string();
        if !is_hopeless {
            return Fate::Failed(text);
        }
        let exit = failure.exit;
        self.reason.get_or_init(|| StopReason { exit, text });
        Fate::Skipped
    }
}

/// The first Ctrl-C stops sending but still keeps what was not sent; the second ends at once.
async fn interrupt(stop: Arc<Stop>) {
    const EXIT_CODE: i32 = 130;
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    stop.reason.get_or_init(|| StopReason {
        exit: Exit::Failed,
        text: "interrupted".into(),
    });
    stop.interrupted.cancel();
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(EXIT_CODE);
    }
}

/// Counts, shows and keeps what became of the lines.
struct Tally {
    progress: ProgressBar,
    unsent: Unsent,
    count: Count,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    sent: u64,
    /// Of those sent, the ones whose users had no socket.
    offline: u64,
    failed: u64,
    /// Of those failed, the ones that were not tried because the batch was stopped.
    skipped: u64,
}

impl Tally {
    /// The counts, and the file that holds the lines that failed, if there are any.
    async fn run(
        mut self,
        mut outcomes: mpsc::Receiver<Outcome>,
    ) -> anyhow::Result<(Count, Option<PathBuf>)> {
        while let Some(Outcome { line, fate }) = outcomes.recv().await {
            match fate {
                Fate::Sent { is_offline } => {
                    self.count.sent += 1;
                    self.count.offline += u64::from(is_offline);
                }
                Fate::Offline => {
                    self.count.offline += 1;
                    self.fail(&line, "the user has no socket")?;
                }
                Fate::Failed(reason) => self.fail(&line, &reason)?,
                Fate::Skipped => {
                    self.count.skipped += 1;
                    self.keep(&line)?;
                }
            }
            let position = self.progress.position().max(line.end);
            self.progress.set_position(position);
            let Count { sent, failed, .. } = self.count;
            self.progress
                .set_message(format!("{sent} sent, {failed} failed"));
        }
        self.progress.finish_and_clear();
        Ok((self.count, self.unsent.finish()))
    }

    fn fail(&mut self, line: &Line, reason: &str) -> anyhow::Result<()> {
        let number = line.number;
        self.progress
            .suspend(|| output::note(format_args!("line {number}: {reason}")));
        self.keep(line)
    }

    fn keep(&mut self, line: &Line) -> anyhow::Result<()> {
        self.count.failed += 1;
        if line.text.is_empty() {
            return Ok(());
        }
        self.unsent.keep(&line.text)
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
    require_online: bool,
) -> Result<(), Failure> {
    let kept = summary.failed_file.map_or_else(String::new, |path| {
        let path = path.display();
        format!("; the lines that failed are in {path}, send them again with --batch {path}")
    });
    let Count {
        offline,
        failed,
        skipped,
        ..
    } = summary.count;
    if let Some(StopReason { exit, text }) = stopped {
        let error =
            anyhow!("{text}").context(format!("stopped, {skipped} lines were not tried{kept}"));
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
    Err(Failure::new(exit, anyhow!("{failed} lines failed{kept}")))
}
