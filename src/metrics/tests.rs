use super::*;

fn present() -> Present {
    Present {
        sockets: 3,
        is_ready: true,
        dropped_log_lines: 7,
    }
}

#[test]
fn what_is_counted_elsewhere_is_not_counted_twice() {
    start();
    for _ in 0..2 {
        let text = render(present());
        for line in [
            "sockd_log_lines_dropped_total 7",
            "sockd_sockets 3",
            "sockd_ready 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured() {
    render(present());
    assert!(PROCESS_RESIDENT_MEMORY.get() > 1 << 20);
    assert!(PROCESS_VIRTUAL_MEMORY.get() >= PROCESS_RESIDENT_MEMORY.get());
    assert!(PROCESS_OPEN_FDS.get() > 2 && PROCESS_THREADS.get() > 0);
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.as_secs_f64() - PROCESS_START_TIME.get();
    assert!((-1.0..3_600.0).contains(&age), "{age}");
}
