//! Panics of spawned tasks. Tokio catches them, so that nothing but the panic hook sees them.

use std::{cell::RefCell, mem, panic, sync::Once};

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Returns the result together with the panics of this thread meanwhile.
pub(super) fn watch<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            print(panic);
        }));
    });
    PANICS.take();
    let result = run();
    (result, PANICS.with_borrow_mut(mem::take))
}

#[test]
fn the_panic_of_a_task_is_seen() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime can be built");
    let task = async || panic!("a task of a node");
    let (result, panics) = watch(|| runtime.block_on(async { tokio::spawn(task()).await }));
    assert!(result.is_err());
    assert_eq!(panics.len(), 1, "{panics:?}");
    assert!(panics[0].contains("a task of a node"), "{panics:?}");
    assert!(watch(|| ()).1.is_empty());
}
