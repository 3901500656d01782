//! Requests that are carried out to their end, whatever becomes of their callers.

use std::{future::Future, sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::error::Error;
use crate::{lifecycle::Lifecycle, wire::ErrorCode};

/// How long a request waits for a place. With the 3 s that Redis may take, an answer comes in less
/// than 10 s.
const WAIT: Duration = Duration::from_secs(5);

/// Runs requests in tasks of their own, which a drain waits for, so many at once.
#[derive(Clone)]
pub(super) struct Carrier {
    places: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

impl Carrier {
    pub(super) fn new(places: usize, lifecycle: Lifecycle) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            lifecycle,
        }
    }

    /// Starts the work, and returns its answer. Where there is no place for it the work starts only
    /// while the returned future is polled, and its body stays unread until then.
    pub(super) fn carry_out<W>(&self, work: W) -> impl Future<Output = Response> + Send + use<W>
    where
        W: Future<Output = Response> + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let run = async move |place: OwnedSemaphorePermit| {
            // Nobody may wait for it any more.
            tell.send(work.await).ok();
            drop(place);
        };
        // Now, since hyper may drop what is returned here before it is polled: as soon as a caller
        // has hung up.
        let waiting = match self.places.clone().try_acquire_owned() {
            Ok(place) => {
                self.lifecycle.spawn_awaited(run(place));
                None
            }
            Err(_) => Some(run),
        };
        let Self { places, lifecycle } = self.clone();
        async move {
            if let Some(run) = waiting {
                let Ok(Ok(place)) = timeout(WAIT, places.acquire_owned()).await else {
                    metrics::counter!("sockd_internal_overloaded_total").increment(1);
                    return Error::from(ErrorCode::Overloaded).into_response();
                };
                lifecycle.spawn_awaited(run(place));
            }
            told.await
                .unwrap_or_else(|_| Error::from(ErrorCode::InternalError).into_response())
        }
    }
}
