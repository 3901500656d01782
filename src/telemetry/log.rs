//! The queue between the code that logs and stderr, and the thread that writes it.
//!
//! Logging never blocks, even when nothing reads stderr: the collector is stuck, the terminal is
//! stopped by Ctrl-S. When the queue is full, the oldest lines are dropped, so that the last lines
//! before the process ends survive. Dropped lines, and lines that cannot be written because the disk
//! is full, are counted, and a line in their place says how many once stderr accepts writes again.
//!
//! `tracing-appender` does not do: its queue is bounded in lines and not in bytes, it does not count lines that
//! fail to be written, and with a full queue its guard prints to stdout, which blocks as well if both go to the
//! same collector.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, poll};

/// Bytes that may wait: about 20,000 lines, more than a working collector leaves unread in a burst. The thread
/// may hold as many again while it writes them.
const ROOM: usize = 4 << 20;
/// Capacity kept after a burst.
const SPARE: usize = 64 << 10;

/// The log of this process.
pub(super) static LOG: Log = Log::new();

pub(super) struct Log {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    /// The thread that writes; `None` until the log starts.
    writer: Option<ThreadId>,
    /// Whole lines that wait to be written.
    lines: VecDeque<u8>,
    /// What the writing thread itself logs; written before `lines`.
    notice: Vec<u8>,
    /// Whether the thread is writing lines that it took from here.
    is_writing: bool,
    /// Whether the last write failed. A notice would fail as well, and is held back.
    is_broken: bool,
    /// Whether a flush timed out. Later ones do not wait again.
    is_over: bool,
    dropped: u64,
    /// Those of `dropped` that no notice has mentioned yet.
    untold: u64,
}

impl Log {
    const fn new() -> Self {
        Self {
            queue: Mutex::new(Queue {
                writer: None,
                lines: VecDeque::new(),
                notice: Vec::new(),
                is_writing: false,
                is_broken: false,
                is_over: false,
                dropped: 0,
                untold: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Starts the thread that writes to stderr.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub(super) fn start(&'static self) -> io::Result<()> {
        self.start_writing_to(io::stderr(), wait_for_stderr)
    }

    /// Queues whole lines. Writes them directly if the log has not started.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut queue = self.queue();
        let Some(writer) = queue.writer else {
            drop(queue);
            // A failure to write to stderr cannot be reported anywhere.
            io::stderr().lock().write_all(lines).ok();
            return;
        };
        if writer == thread::current().id() {
            queue.notice.extend_from_slice(lines);
            return;
        }
        let was_idle = queue.is_idle();
        queue.add(lines);
        drop(queue);
        // If it was not idle, the thread is awake and checks the queue again.
        if was_idle {
            self.changed.notify_all();
        }
    }

    /// Waits until all lines are written or the deadline has passed.
    pub(super) fn flush(&self, until: Instant) {
        let mut queue = self.queue();
        while queue.writer.is_some() && !queue.is_over && !queue.is_idle() {
            let left = until.saturating_duration_since(Instant::now());
            queue.is_over = left.is_zero();
            let waited = self.changed.wait_timeout(queue, left);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the number of lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// `wait` returns once a non-blocking sink accepts writes again.
    fn start_writing_to(
        &'static self,
        sink: impl Write + Send + 'static,
        wait: fn(),
    ) -> io::Result<()> {
        let sink = Sink {
            sink,
            wait,
            is_mid_line: false,
        };
        let mut queue = self.queue();
        let writer = thread::Builder::new().name("log".to_owned());
        let writer = writer.spawn(|| self.write_to(sink))?;
        queue.writer = Some(writer.thread().id());
        Ok(())
    }

    /// Writes queued lines forever.
    fn write_to(&self, mut sink: Sink<impl Write>) {
        let mut batch = VecDeque::new();
        loop {
            let lost = self.take(&mut batch);
            let notice = self.notice_of(lost);
            let lines = batch.make_contiguous();
            let unwritten = match sink.write(&notice) {
                Ok(()) => sink.write(lines).map_err(|rest| (0, rest)),
                Err(_) => Err((lost, &*lines)),
            };
            let mut queue = self.queue();
            queue.is_writing = false;
            queue.is_broken = unwritten.is_err();
            if let Err((untold, rest)) = unwritten {
                queue.untold += untold;
                queue.count_dropped(rest);
            }
            drop(queue);
            self.changed.notify_all();
            batch.clear();
            batch.shrink_to(SPARE);
        }
    }

    /// Waits for lines and takes all of them. Returns how many were dropped before them.
    fn take(&self, batch: &mut VecDeque<u8>) -> u64 {
        let idle = self
            .changed
            .wait_while(self.queue(), |queue| queue.is_idle());
        let mut queue = idle.unwrap_or_else(PoisonError::into_inner);
        queue.is_writing = true;
        std::mem::swap(&mut queue.lines, batch);
        if queue.is_broken {
            return 0;
        }
        std::mem::take(&mut queue.untold)
    }

    /// Formats a notice about lost lines like any other log line.
    fn notice_of(&self, lost: u64) -> Vec<u8> {
        if lost > 0 {
            tracing::warn!(
                lines = lost,
                "dropped log lines, stderr is read too slowly or its disk is full"
            );
        }
        std::mem::take(&mut self.queue().notice)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No operation leaves it half-changed, so a poisoned lock is as good as new.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Whether there is nothing to write: no lines, no notice, and none in progress.
    fn is_idle(&self) -> bool {
        let has_notice = self.untold > 0 && !self.is_broken;
        self.lines.is_empty() && !self.is_writing && !has_notice
    }

    /// Adds lines, and drops the oldest ones if they do not fit.
    fn add(&mut self, lines: &[u8]) {
        if lines.len() > ROOM {
            return self.count_dropped(lines);
        }
        while self.lines.len() + lines.len() > ROOM {
            let end = self.lines.iter().position(|byte| *byte == b'\n');
            self.lines.drain(..=end.unwrap_or(0));
            self.dropped += 1;
            self.untold += 1;
        }
        self.lines.extend(lines);
    }

    fn count_dropped(&mut self, lines: &[u8]) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.dropped += count;
        self.untold += count;
    }
}

/// `tracing_subscriber` writes each line in one call.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where lines are written to.
struct Sink<W> {
    sink: W,
    wait: fn(),
    /// Whether the last write ended within a line.
    is_mid_line: bool,
}

impl<W: Write> Sink<W> {
    /// # Errors
    /// A write failed. Returns the rest, which begins with the remainder of a partly written line.
    fn write<'a>(&mut self, lines: &'a [u8]) -> Result<(), &'a [u8]> {
        if self.is_mid_line && !lines.is_empty() {
            // The remainder of the torn line is lost; the next one must not continue it.
            self.write_some(b"\n").map_err(|_| lines)?;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let count = self.write_some(rest).map_err(|_| rest)?;
            self.is_mid_line = rest[..count].last() != Some(&b'\n');
            rest = &rest[count..];
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.sink.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // `O_NONBLOCK` is shared with other processes that have the same file open.
                Err(error) if error.kind() == ErrorKind::WouldBlock => (self.wait)(),
                done => return done,
            }
        }
    }
}

fn wait_for_stderr() {
    let stderr = io::stderr();
    // Errors are reported by the next write as well.
    poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None).ok();
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::mpsc, time::Duration};

    use super::*;

    /// Returns these results, then accepts everything.
    #[derive(Default)]
    struct Script {
        results: VecDeque<io::Result<usize>>,
        taken: Vec<u8>,
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.results.pop_front().unwrap_or(Ok(bytes.len()))?;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink(results: impl IntoIterator<Item = io::Result<usize>>) -> Sink<Script> {
        Sink {
            sink: Script {
                results: results.into_iter().collect(),
                taken: Vec::new(),
            },
            wait: || {},
            is_mid_line: false,
        }
    }

    #[test]
    fn partial_and_interrupted_writes_are_continued() {
        let mut sink = sink([
            Ok(1),
            Err(ErrorKind::Interrupted.into()),
            Ok(3),
            Err(ErrorKind::WouldBlock.into()),
        ]);
        assert_eq!(sink.write(b"one\ntwo\n"), Ok(()));
        assert_eq!(sink.sink.taken, b"one\ntwo\n");
    }

    #[test]
    fn a_torn_line_does_not_merge_with_the_next() {
        let full = || Err(ErrorKind::StorageFull.into());
        let mut sink = sink([Ok(5), full(), full()]);
        assert_eq!(sink.write(b"one\ntwo\n"), Err(&b"wo\n"[..]));
        assert_eq!(sink.write(b"three\n"), Err(&b"three\n"[..]));
        assert_eq!(sink.write(b"four\n"), Ok(()));
        assert_eq!(sink.write(b"five\n"), Ok(()));
        assert_eq!(sink.sink.taken, b"one\nt\nfour\nfive\n");
    }

    /// Accepts a write each time the test allows one.
    struct Reader(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().map_err(|_| ErrorKind::BrokenPipe)?;
            self.1.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_and_counted_without_blocking() {
        let log: &'static Log = Box::leak(Box::new(Log::new()));
        let (read, may_read) = mpsc::channel();
        let (write, written) = mpsc::channel();
        log.start_writing_to(Reader(may_read, write), || {})
            .expect("a thread");
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        // More than the queue and the writing thread can hold together.
        for _ in 0..2 * ROOM / line.len() + 10 {
            log.push(&line);
        }
        let dropped = log.dropped();
        assert!(dropped >= 10, "{dropped}");
        log.flush(Instant::now());
        // Returns at once, as the first flush has timed out.
        log.flush(Instant::now() + Duration::from_secs(3600));
        let pushed = 2 * ROOM + 10 * line.len();
        let dropped = usize::try_from(dropped).expect("few") * line.len();
        let mut taken = 0;
        // In one batch or in two, as the thread may begin only after all lines were pushed.
        while taken + dropped < pushed {
            read.send(()).expect("the thread lives");
            taken += written.recv().expect("the thread lives").len();
        }
        assert_eq!(taken + dropped, pushed);
    }
}
