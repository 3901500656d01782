//! Which origins may read the answers of the Socket.IO endpoint, as the `cors` package of the
//! TypeScript server does.

use http::{
    HeaderMap, HeaderValue,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
    },
};

use crate::config::Cors;

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");

/// The request headers that CORS needs; copied, as a clone keeps the whole request in memory.
pub(super) fn request_headers(request: &HeaderMap) -> HeaderMap {
    let names = [ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS];
    let found = names.into_iter().filter_map(|name| {
        let value = HeaderValue::from_bytes(request.get(&name)?.as_bytes()).ok()?;
        Some((name, value))
    });
    found.collect()
}

/// Adds what every answer has.
pub(super) fn allow_origin(cors: &Cors, request: &HeaderMap, response: &mut HeaderMap) {
    let allowed = match cors {
        Cors::Any => Some(HeaderValue::from_static("*")),
        Cors::One(origin) => HeaderValue::from_str(origin).ok(),
        Cors::List(origins) => request
            .get(ORIGIN)
            .filter(|asking| {
                origins
                    .iter()
                    .any(|origin| origin.as_bytes() == asking.as_bytes())
            })
            .cloned(),
    };
    if let Some(allowed) = allowed {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
    if *cors != Cors::Any {
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// Adds what the answer to a preflight has on top.
pub(super) fn allow_request(request: &HeaderMap, response: &mut HeaderMap) {
    response.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    // One header, for clients and tests that look at the first only.
    let vary = "Access-Control-Request-Headers";
    let vary = match response.get(VARY) {
        Some(_) => HeaderValue::from_str(&format!("Origin, {vary}")),
        None => HeaderValue::from_str(vary),
    };
    vary.map(|vary| response.insert(VARY, vary)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(cors: Cors, origin: &str) -> (Option<String>, Option<String>) {
        let mut request = HeaderMap::new();
        request.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        let mut response = HeaderMap::new();
        allow_origin(&cors, &request, &mut response);
        let text = |name| {
            response
                .get(name)
                .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
        };
        (text(ACCESS_CONTROL_ALLOW_ORIGIN), text(VARY))
    }

    #[test]
    fn each_setting_answers_as_the_old_server_did() {
        let some = |text: &str| Some(text.to_owned());
        let list = || Cors::List(vec!["https://a.example".into(), "https://b.example".into()]);
        assert_eq!(answer(Cors::Any, "https://x.example"), (some("*"), None));
        let one = Cors::One("https://a.example".into());
        assert_eq!(
            answer(one, "https://x.example"),
            (some("https://a.example"), some("Origin"))
        );
        assert_eq!(
            answer(list(), "https://b.example"),
            (some("https://b.example"), some("Origin"))
        );
        assert_eq!(answer(list(), "https://B.example"), (None, some("Origin")));
    }
}
