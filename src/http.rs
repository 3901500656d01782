//! The way in for backends and operators: the internal API, health and metrics.

mod caller;
mod carried;
mod dev;
mod drain;
mod error;
mod host;
mod internal;
mod prefer;
mod query;
mod request_id;
mod status;
mod users;

use std::{
    future::{Future, ready},
    sync::{Arc, Once},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::{Either, FutureExt};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, uri::PathAndQuery};
use serde::Serialize;
use serde_json::json;
use thiserror::Error;
use tokio::sync::mpsc;
use tower::ServiceExt;
use tracing::Instrument;

pub use self::dev::Dev;
use self::{
    carried::{Carrier, Work},
    error::Error,
};
use crate::{
    auth::jwks::NoKeySet,
    config::Config,
    id::IdFormats,
    lifecycle::Lifecycle,
    lifecycle::MoveRequest,
    metrics::{self, EMIT_DURATION, Histogram, Present},
    node::{self, Node},
    reload::{Current, ReloadRequest},
    stream::{RequestBody, body::read_on},
    telemetry,
    wire::{ErrorBody, ErrorCode},
};

/// All routes outside the Socket.IO endpoint.
#[derive(Clone)]
pub struct Api {
    router: Router,
    context: Arc<Context>,
    has_internal_routes: bool,
}

/// What the handlers need.
struct Context {
    node: Arc<Node>,
    current: Current,
    reloads: mpsc::Sender<ReloadRequest>,
    moves: mpsc::Sender<MoveRequest>,
    /// The longest body of a request, in bytes.
    max_body: usize,
    ids: IdFormats,
    body_timeout: Duration,
    /// How long emits took that reached every node, and those that may not have.
    complete: Histogram,
    partial: Histogram,
    /// Whether it was logged that a scraper was refused.
    refused_metrics: Once,
    started: Instant,
    carrier: Carrier,
    lifecycle: Lifecycle,
    dev: Option<Dev>,
}

impl Api {
    /// With `dev` also the page of `sockd serve --dev` and what its buttons call.
    pub fn new(
        config: &Config,
        current: Current,
        reloads: mpsc::Sender<ReloadRequest>,
        moves: mpsc::Sender<MoveRequest>,
        node: Arc<Node>,
        dev: Option<Dev>,
        lifecycle: &Lifecycle,
    ) -> Self {
        let context = Arc::new(Context {
            node,
            current,
            reloads,
            moves,
            max_body: config.internal.max_body,
            ids: config.ids.clone(),
            body_timeout: config.server.body_timeout,
            complete: EMIT_DURATION.with_label_values(&["ok"]),
            partial: EMIT_DURATION.with_label_values(&["partial"]),
            refused_metrics: Once::new(),
            started: Instant::now(),
            carrier: Carrier::new(config.internal.concurrency, lifecycle.clone()),
            lifecycle: lifecycle.clone(),
            dev,
        });
        let reporting = Arc::downgrade(&context);
        let report = move || reporting.upgrade().map(|context| context.status());
        context.node.report_by(Box::new(report));
        let has_page = context.dev.is_some();
        Self::with(context, true, has_page)
    }

    /// Splits it for two listeners, the clients' and the callers'. Clients keep the page of `--dev`;
    /// internal routes, health and metrics are only for callers.
    pub fn split(self) -> (Self, Self) {
        let Self { context, .. } = self;
        let has_page = context.dev.is_some();
        let clients = Self::with(context.clone(), false, has_page);
        (clients, Self::with(context, true, false))
    }

    fn with(context: Arc<Context>, has_internal_routes: bool, has_page: bool) -> Self {
        let mut router = Router::new();
        if has_internal_routes {
            router = router
                .route("/healthz", get(health))
                .route("/readyz", get(readiness))
                .route("/metrics", get(render_metrics));
        }
        if has_page {
            router = dev::routes(router);
        }
        let router = router
            .fallback(not_found)
            // As Express: its callers do not expect 405.
            .method_not_allowed_fallback(not_found)
            .with_state(context.clone());
        Self {
            router,
            context,
            has_internal_routes,
        }
    }

    /// The response to a request that no route serves, including the Socket.IO endpoint: one without a
    /// valid `Host`, and with `--dev` one for a host other than this machine.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response> {
        let code = host::check(request, self.context.dev.is_some()).err()?;
        Some(name_charset(Error::from(code).into_response()))
    }

    /// Handles a request. An internal one starts immediately, and runs to its end even if the returned
    /// future is dropped.
    pub fn serve(
        &self,
        mut request: Request<RequestBody>,
    ) -> impl Future<Output = Response> + Send + use<> {
        if let Some(uri) = canonical(request.uri()) {
            *request.uri_mut() = uri;
        }
        let mut request = read_on(request, self.context.body_timeout);
        let answer = if self.has_internal_routes && internal::is_route(request.uri().path()) {
            match caller::check(request.headers(), &self.context) {
                Err(code) => Either::Left(ready(Error::from(code).into_response())),
                Ok(()) => {
                    let is_logged = internal::is_logged(&request);
                    let span = request_id::settle(request.headers_mut(), is_logged);
                    let work = internal::answer(self.context.clone(), request);
                    let work: Work = match span {
                        Some(span) => Box::pin(work.instrument(span)),
                        None => Box::pin(work),
                    };
                    Either::Right(Either::Left(self.context.carrier.carry_out(work)))
                }
            }
        } else {
            Either::Right(Either::Right(Box::pin(route(
                self.router.clone(),
                request.map(Body::new),
            ))))
        };
        answer.map(name_charset)
    }
}

impl Context {
    /// # Errors
    /// The node cannot do its work now, or cannot judge tokens; the text says why.
    fn check_readiness(&self) -> Result<(), Unready> {
        self.node.check()?;
        Ok(self.current.load().verifier.check()?)
    }

    /// The figures that are taken at the moment when metrics are read.
    fn present(&self, is_ready: bool) -> Present {
        Present {
            sockets: self.node.hub().count(),
            is_ready,
            dropped_log_lines: telemetry::dropped_lines(),
        }
    }
}

async fn route(router: Router, request: Request<Body>) -> Response {
    let Ok(response) = router.oneshot(request).await;
    response
}

/// The path in lower case and without a trailing slash, as Express matches routes. A user's id in it
/// keeps its case.
fn canonical(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let stem = path.strip_suffix('/').filter(|rest| !rest.is_empty());
    if stem.is_none() && !path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut canonical = stem.unwrap_or(path).to_ascii_lowercase();
    if let Some(id) = users::id_in(&canonical) {
        canonical.replace_range(id.clone(), &path[id]);
    }
    let query = uri
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(format!("{canonical}{query}")).ok();
    Uri::from_parts(parts).ok()
}

async fn not_found() -> Error {
    ErrorCode::NotFound.into()
}

/// Always ok while the process runs.
async fn health() -> impl IntoResponse {
    Json(json!({ "ok": true }))
}

/// Whether the node is ready: it is subscribed to its users' channels, can judge tokens, and is not
/// draining. The reason why not names servers, users and files, so only callers with a secret see it.
async fn readiness(State(context): State<Arc<Context>>, headers: HeaderMap) -> Response {
    match context.check_readiness() {
        Ok(()) => Json(json!({ "ok": true })).into_response(),
        Err(why) => {
            let error = ErrorBody::from(ErrorCode::NotReady);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(NotReady {
                    error,
                    reason: may_read(&context, &headers).then(|| why.to_string()),
                }),
            )
                .into_response()
        }
    }
}

/// Why the node is not ready.
#[derive(Debug, Error)]
enum Unready {
    #[error(transparent)]
    Node(#[from] node::NotReady),
    #[error(transparent)]
    Keys(#[from] NoKeySet),
}

/// The response of a node that is not ready, with the reason for an operator.
#[derive(Serialize)]
struct NotReady {
    #[serde(flatten)]
    error: ErrorBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether the caller sends the metrics secret, or one for the internal routes.
fn may_read(context: &Context, headers: &HeaderMap) -> bool {
    let current = context.current.load();
    let secrets = current.internal.iter();
    caller::knows_one_of(secrets.chain(&current.metrics.secret), headers)
}

/// The process's metrics in Prometheus' text format. Browsers are not refused as on the internal
/// routes: a page that does not know the secret cannot send it.
async fn render_metrics(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Error> {
    if !context.current.load().metrics.public && !may_read(&context, &headers) {
        context.refused_metrics.call_once(|| {
            tracing::warn!(
                "refused a request for /metrics, let scrapers send metrics.secret or set metrics.public"
            );
        });
        return Err(ErrorCode::Unauthorized.into());
    }
    let is_ready = context.check_readiness().is_ok();
    let text = metrics::render(context.present(is_ready));
    let content_type = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    Ok((content_type, text))
}

/// Content type as the TypeScript server sent it, with the charset.
fn name_charset(mut response: Response) -> Response {
    let json = HeaderValue::from_static("application/json");
    if let Some(found) = response.headers_mut().get_mut(header::CONTENT_TYPE)
        && *found == json
    {
        *found = HeaderValue::from_static("application/json; charset=utf-8");
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::body::Unread;

    /// The first is copied on its way into the connection, which has room for it as long as it lives;
    /// the second is allocated for each internal request.
    #[test]
    fn the_futures_of_a_request_are_small() {
        fn answer<F: Future>(_: fn(&Api, Request<RequestBody>) -> F) -> usize {
            size_of::<F>()
        }
        fn work<F: Future>(_: fn(Arc<Context>, Request<Unread>) -> F) -> usize {
            size_of::<F>()
        }
        let sizes = (answer(Api::serve), work(internal::answer));
        assert!(sizes.0 <= 128 && sizes.1 <= 1_688, "{sizes:?}");
    }

    #[test]
    fn routes_are_matched_as_express_matches_them() {
        let canonical = |text: &str| canonical(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(canonical("/internal/emit"), None);
        assert_eq!(
            canonical("/Internal/EMIT/?A=B"),
            Some("/internal/emit?A=B".to_owned())
        );
        assert_eq!(
            canonical("/Internal/USERS/aB%2F/Session/"),
            Some("/internal/users/aB%2F/session".to_owned())
        );
        assert_eq!(canonical("/"), None);
        assert_eq!(canonical("//"), Some("/".to_owned()));
    }
}
