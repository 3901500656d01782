use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
    mpsc,
};

use tokio::{task::yield_now, time::advance};

use super::*;

#[tokio::test(start_paused = true)]
async fn the_watch_survives_a_panic_and_a_disk_that_does_not_answer_and_logs_both() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let writer = Arc::new(log.reopen().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
    let _log = tracing::subscriber::set_default(subscriber);
    let logged = |phrase: &str| {
        let text = std::fs::read_to_string(log.path()).unwrap();
        text.matches(phrase).count()
    };
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
    until(&|| logged("reading its files panicked") == 1).await;
    yield_now().await;
    advance(REFRESH).await;
    until(&|| looks.load(Relaxed) == 2).await;
    advance(READ_LIMIT).await;
    until(&|| logged("not read within 5s") == 1).await;
    // However long that takes, no other read begins.
    advance(10 * REFRESH).await;
    (0..100).for_each(|_| std::thread::yield_now());
    assert_eq!(looks.load(Relaxed), 2);
    assert_eq!(logged("a certificate cannot be used"), 2);
    assert_eq!(failed.get() - before, 2);
    answer.send(()).unwrap();
    while looks.load(Relaxed) == 2 {
        yield_now().await;
        advance(Duration::from_millis(1)).await;
    }
    watch.abort();
}
