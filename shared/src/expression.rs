//! The six basic expressions of the LSD challenge, in the order of their class index.

use serde::{Deserialize, Serialize};

/// Number of expression classes.
pub const CLASSES: usize = 6;

/// Number of facial landmarks (the usual 68-point order).
pub const LANDMARKS: usize = 68;

/// One of the six basic expressions. The discriminant is the class index of the challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Expression {
    Anger = 0,
    Disgust = 1,
    Fear = 2,
    Happiness = 3,
    Sadness = 4,
    Surprise = 5,
}

impl Expression {
    /// All expressions by class index.
    pub const ALL: [Self; CLASSES] =
        [Self::Anger, Self::Disgust, Self::Fear, Self::Happiness, Self::Sadness, Self::Surprise];

    /// The class index, 0 to 5.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The expression with class index `index`, if there is one.
    pub fn from_index(index: usize) -> Option<Self> {
        Self::ALL.get(index).copied()
    }

    /// The expression with this English name, in upper or lower case. The challenge's archive spells anger "ANGRER".
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("angrer") {
            return Some(Self::Anger);
        }
        Self::ALL.into_iter().find(|expression| expression.name().eq_ignore_ascii_case(name))
    }

    /// English name with a capital letter, for tables and plots.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anger => "Anger",
            Self::Disgust => "Disgust",
            Self::Fear => "Fear",
            Self::Happiness => "Happiness",
            Self::Sadness => "Sadness",
            Self::Surprise => "Surprise",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_order_agree() {
        for (index, expression) in Expression::ALL.into_iter().enumerate() {
            assert_eq!(expression.index(), index);
            assert_eq!(Expression::from_index(index), Some(expression));
        }
        assert_eq!(Expression::from_index(CLASSES), None);
    }

    #[test]
    fn names_are_read_in_any_case() {
        for (index, expression) in Expression::ALL.into_iter().enumerate() {
            assert_eq!(
                Expression::from_name(&expression.name().to_uppercase()).map(Expression::index),
                Some(index)
            );
        }
        assert_eq!(Expression::from_name("Angrer"), Some(Expression::Anger));
        assert_eq!(Expression::from_name("neutral"), None);
    }
}
