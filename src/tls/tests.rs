use std::{
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
};

use tokio::{task::yield_now, time::advance};

use super::*;

/// What is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn count(&self, phrase: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.matches(phrase).count()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_watch_survives_a_panic_and_a_disk_that_does_not_answer_and_logs_both() {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let _log = tracing::subscriber::set_default(log.finish());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls");
    let files = TlsFiles {
        section: "server",
        certificate: folder.join("server.pem"),
        key: folder.join("server.key.pem"),
        client_authority: None,
    };
    let certificates = Certificates::open(&files).unwrap();
    let failed = certificates.failed.clone();
    let before = failed.get();
    let looks = Arc::new(AtomicUsize::new(0));
    let (answer, answers) = mpsc::channel::<()>();
    let answers = Arc::new(Mutex::new(answers));
    let read = {
        let looks = looks.clone();
        move || match looks.fetch_add(1, Relaxed) {
            0 => panic!("a fault"),
            1 => {
                answers.lock().unwrap().recv().unwrap();
                Loaded::read(&files)
            }
            _ => Loaded::read(&files),
        }
    };
    let watch = tokio::spawn(async move { certificates.watch(read).await });
    // The clock stands still meanwhile.
    let until = async |is_so: &dyn Fn() -> bool| {
        while !is_so() {
            yield_now().await;
        }
    };
    yield_now().await;
    advance(REFRESH).await;
    until(&|| lines.count("reading its files panicked") == 1).await;
    yield_now().await;
    advance(REFRESH).await;
    until(&|| looks.load(Relaxed) == 2).await;
    advance(READ_LIMIT).await;
    until(&|| lines.count("not read within 5s") == 1).await;
    // However long that takes, no other read begins.
    advance(10 * REFRESH).await;
    (0..100).for_each(|_| std::thread::yield_now());
    assert_eq!(looks.load(Relaxed), 2);
    assert_eq!(lines.count("a certificate cannot be used"), 2);
    assert_eq!(failed.get() - before, 2);
    answer.send(()).unwrap();
    while looks.load(Relaxed) == 2 {
        yield_now().await;
        advance(Duration::from_millis(1)).await;
    }
    watch.abort();
}
