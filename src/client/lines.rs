//! The lines of a response that has no end.

use std::{collections::VecDeque, time::Duration};

use tokio::time::timeout;

use super::ClientError;

/// A node sends an empty line each second.
const SILENCE: Duration = Duration::from_secs(15);
/// A line of a payload of 1 MiB, with all of it escaped.
const LONGEST: usize = 16 << 20;

/// Lines as they come, without the empty ones.
#[derive(Debug)]
pub struct Lines {
    url: String,
    response: reqwest::Response,
    /// The beginning of a line.
    partial: Vec<u8>,
    ready: VecDeque<String>,
}

impl Lines {
    pub(super) fn new(url: String, response: reqwest::Response) -> Self {
        Self {
            url,
            response,
            partial: Vec::new(),
            ready: VecDeque::new(),
        }
    }

    /// The next line; `None` once the node has ended the response. Cancellation-safe.
    ///
    /// # Errors
    /// The connection is lost, or silent.
    pub async fn next(&mut self) -> Result<Option<String>, ClientError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let url = || self.url.clone();
            let chunk = timeout(SILENCE, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| ClientError::Silent { url: url() })?;
            let chunk = chunk.map_err(|source| ClientError::Lost {
                url: url(),
                source: source.without_url(),
            })?;
            let Some(chunk) = chunk else {
                return Ok(None);
            };
            if self.partial.len() + chunk.len() > LONGEST {
                return Err(ClientError::Unintelligible {
                    url: url(),
                    status: self.response.status().as_u16(),
                });
            }
            self.partial.extend_from_slice(&chunk);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line = self.partial.drain(..=end).collect::<Vec<_>>();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                if !line.is_empty() {
                    self.ready.push_back(line);
                }
            }
        }
    }
}
