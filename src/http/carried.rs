//! Requests that run to their end even if their callers hang up.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, FutureExt};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::error::Error;
use crate::{lifecycle::Lifecycle, metrics::INTERNAL_OVERLOADED, wire::ErrorCode};

/// How long a request waits for a place. With the 3 s that Redis may take, the response comes within
/// 10 s.
const WAIT: Duration = Duration::from_secs(5);

/// Limits how many requests run at once; a drain waits for them.
#[derive(Clone)]
pub(super) struct Carrier {
    max: usize,
    places: Arc<Semaphore>,
    lifecycle: Lifecycle,
}

impl Carrier {
    pub(super) fn new(places: usize, lifecycle: Lifecycle) -> Self {
        Self {
            max: places,
            places: Arc::new(Semaphore::new(places)),
            lifecycle,
        }
    }

    /// The most requests that run at once.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// How many run now.
    pub(super) fn running(&self) -> usize {
        self.max - self.places.available_permits()
    }

    /// Does the work and returns its response. The work is done even if the returned future is dropped,
    /// polled or not. If there is no place, the work starts later, when the future is polled, and the
    /// body stays unread until then.
    pub(super) fn carry_out(&self, work: Work) -> impl Future<Output = Response> + Send + use<> {
        let carried = |place, lifecycle| Carried {
            work: Some(Placed {
                work,
                _place: place,
            }),
            lifecycle,
        };
        // Starts now, since hyper may drop the returned future before it polls it, as soon as a caller
        // hangs up.
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Either::Left(carried(place, self.lifecycle.clone()));
        }
        let Self {
            places, lifecycle, ..
        } = self.clone();
        Either::Right(Box::pin(async move {
            let Ok(Ok(place)) = timeout(WAIT, places.acquire_owned()).await else {
                INTERNAL_OVERLOADED.inc();
                return Error::from(ErrorCode::Overloaded).into_response();
            };
            carried(place, lifecycle).await
        }))
    }
}

/// Boxed before anything moves it, since it is large.
pub(super) type Work = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Work that its caller's connection drives, since a task of its own costs each request the wake-up
/// of another thread. When the connection drops it unfinished, a task takes it over.
struct Carried {
    /// `None` once it is done.
    work: Option<Placed>,
    lifecycle: Lifecycle,
}

/// Work that has a place.
struct Placed {
    work: Work,
    _place: OwnedSemaphorePermit,
}

impl Future for Placed {
    type Output = Response;

    /// A panic gets the response of any other failure.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let poll = || self.work.as_mut().poll(context);
        catch_unwind(AssertUnwindSafe(poll))
            .unwrap_or_else(|_| Poll::Ready(Error::from(ErrorCode::InternalError).into_response()))
    }
}

impl Future for Carried {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let answer = ready!(Pin::new(work).poll(context));
        self.work = None;
        Poll::Ready(answer)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some(work), Ok(_)) = (self.work.take(), Handle::try_current()) {
            self.lifecycle.spawn_awaited(work.map(drop));
        }
    }
}
