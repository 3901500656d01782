//! How errors are written for people.

use std::error::Error;

/// An error with all its causes in one line, for a log field or an operator.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // Some libraries' errors repeat their source in their own text.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    enum Failed {
        #[error("cannot read")]
        Read(#[source] Cause),
        #[error("cannot write: full")]
        Write(#[source] Cause),
    }

    #[derive(Debug, Error)]
    #[error("full")]
    struct Cause;

    #[test]
    fn each_cause_is_named_once() {
        assert_eq!(chain(&Failed::Read(Cause)), "cannot read: full");
        assert_eq!(chain(&Failed::Write(Cause)), "cannot write: full");
    }
}
