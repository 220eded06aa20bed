//! An error and its causes in one line.

use std::error::Error;

/// The error and its causes in one line. A cause that the text already contains is left out, because many errors
/// include their cause in their own message.
pub fn in_words(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).fold(error.to_string(), |words, cause| {
        if words.contains(&cause) { words } else { format!("{words}: {cause}") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{words}")]
    struct Said {
        words: &'static str,
        source: Option<Box<Said>>,
    }

    fn chain(words: &[&'static str]) -> Option<Box<Said>> {
        let (first, rest) = words.split_first()?;
        Some(Box::new(Said { words: first, source: chain(rest) }))
    }

    #[test]
    fn each_cause_is_said_once() {
        let told = |words: &[&'static str]| chain(words).map(|error| in_words(&*error)).unwrap_or_default();
        assert_eq!(told(&["no way to h:1: refused", "refused"]), "no way to h:1: refused");
        assert_eq!(
            told(&["a job failed", "cannot read x", "no such file"]),
            "a job failed: cannot read x: no such file"
        );
        assert_eq!(
            told(&["it ended: IO: broken; try again", "IO: broken", "broken"]),
            "it ended: IO: broken; try again"
        );
    }
}
