//! What a caller asks for behind the `?` of an internal route.

use std::{borrow::Cow, collections::HashMap};

use url::form_urlencoded;

/// The parameters; of one that is given more than once the last counts, as in a JSON body.
pub(super) struct Query<'a>(HashMap<Cow<'a, str>, Cow<'a, str>>);

impl<'a> Query<'a> {
    pub(super) fn parse(query: &'a str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Cow<'a, str>> {
        self.0.get(key)
    }

    /// Whether it is given, with any value but `false`.
    pub(super) fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| *value != "false")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_repeated_parameter_counts() {
        for (query, expected) in [
            ("", false),
            ("all", true),
            ("all=", true),
            ("all=true", true),
            ("all=false", false),
            ("all=true&all=false", false),
            ("all=false&all=true", true),
            ("all=false&all", true),
            ("a%6cl=true&other=false", true),
            ("ALL=true", false),
        ] {
            assert_eq!(Query::parse(query).is_on("all"), expected, "{query}");
        }
        let query = Query::parse("limit=1&user=a%26b&limit=2");
        assert_eq!(
            ["limit", "user", "after"].map(|key| query.get(key).map(|value| &**value)),
            [Some("2"), Some("a&b"), None]
        );
    }
}
