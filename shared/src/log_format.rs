//! How programs write their own log on standard error.

/// The form of each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// One JSON object.
    Json,
}

impl LogFormat {
    /// What `FERRY_LOG_FORMAT` asks for.
    pub fn of_environment() -> Self {
        Self::of(std::env::var("FERRY_LOG_FORMAT").ok().as_deref())
    }

    fn of(value: Option<&str>) -> Self {
        if value.is_some_and(|value| value.eq_ignore_ascii_case("json")) { Self::Json } else { Self::Text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_on_request() {
        assert_eq!(
            [None, Some(""), Some("text"), Some("JSON")].map(LogFormat::of),
            [LogFormat::Text, LogFormat::Text, LogFormat::Text, LogFormat::Json,]
        );
    }
}
