//! The response to a request that failed: an error code, and no details of what went wrong inside.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;

use crate::{
    node::{LogoutError, RemoveError},
    trace::TooManyTraces,
    wire::{ErrorBody, ErrorCode},
};

/// An answer `{"ok":false,"error":"CODE"}` with the code's status.
#[derive(Debug)]
pub(super) struct Error(ErrorCode);

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self(code)
    }
}

/// The node has logged what went wrong.
impl From<LogoutError> for Error {
    fn from(error: LogoutError) -> Self {
        Self(match error {
            LogoutError::Timeout(_) | LogoutError::Store(_) | LogoutError::Bus(_) => {
                ErrorCode::RedisUnavailable
            }
            LogoutError::PeerTooOld(_) => ErrorCode::PeerTooOld,
            LogoutError::Incomplete { .. } | LogoutError::Misplaced(_) => ErrorCode::BusUnavailable,
        })
    }
}

/// The node has logged what went wrong.
impl From<RemoveError> for Error {
    fn from(_: RemoveError) -> Self {
        Self(ErrorCode::RedisUnavailable)
    }
}

impl From<TooManyTraces> for Error {
    fn from(_: TooManyTraces) -> Self {
        Self(ErrorCode::TooManyTraces)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody::from(self.0))).into_response()
    }
}
