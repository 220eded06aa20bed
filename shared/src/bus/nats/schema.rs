//! The version of a server's store: written in the metadata of the books' stream, checked before anything else is read.

use nats::jetstream::Context;
use nats::jetstream::stream::Config;

use super::super::BusError;
use crate::protocol::{SCHEMA, subjects};
use crate::version::Versions;

/// Key of the stream's metadata.
const KEY: &str = "ferry.schema";

/// What a program may do with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visit {
    /// May create a store, and update an older one.
    Host,
    /// Uses a store of its own version; may not have the right to change streams.
    Guest,
}

/// Writes this program's version into the configuration of a stream.
pub(super) fn mark(config: &mut Config) {
    config.metadata.insert(KEY.to_owned(), SCHEMA.to_string());
}

/// Refuses a store of another version, or updates it without deleting anything. A host may find no store, and creates
/// it later.
pub(super) async fn check(jetstream: &Context, visit: Visit) -> Result<(), BusError> {
    const WHAT: &str = "read the version of the store";
    let stream = match jetstream.get_stream(subjects::BOOKS_STREAM).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error) => {
            let what = format!("stream {}: run a sweep on it with `ferry run` first", subjects::BOOKS_STREAM);
            return match visit {
                Visit::Host => Ok(()),
                Visit::Guest => Err(BusError::Missing { what }),
            };
        }
        Err(error) => return Err(BusError::transport(WHAT, error)),
    };
    let config = &stream.cached_info().config;
    match judge(config.metadata.get(KEY).map(String::as_str), visit)? {
        Verdict::Fits => Ok(()),
        Verdict::Raise => {
            let mut config = config.clone();
            mark(&mut config);
            jetstream.update_stream(config).await.map_err(|error| BusError::transport(WHAT, error))?;
            tracing::info!("the store was updated to version {SCHEMA}");
            Ok(())
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    Raise,
}

/// A store without a version has version 1, which did not write one.
fn judge(found: Option<&str>, visit: Visit) -> Result<Verdict, BusError> {
    let wrong = |source| BusError::Version { what: "the store of this server".to_owned(), source };
    let found = Versions::up_to(SCHEMA).check_text(found.unwrap_or("1")).map_err(wrong)?;
    match visit {
        _ if found == u64::from(SCHEMA) => Ok(Verdict::Fits),
        Visit::Host => Ok(Verdict::Raise),
        Visit::Guest => Err(BusError::OldStore { found, needed: SCHEMA }),
    }
}

fn is_missing(error: &nats::jetstream::context::GetStreamError) -> bool {
    matches!(error.kind(), nats::jetstream::context::GetStreamErrorKind::JetStream(ref e) if e.code() == 404)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::VersionError;

    #[test]
    fn other_versions_are_raised_or_refused() {
        let own = SCHEMA.to_string();
        let newer = (SCHEMA + 1).to_string();
        for visit in [Visit::Host, Visit::Guest] {
            assert_eq!(judge(Some(&own), visit).unwrap(), Verdict::Fits);
            assert!(matches!(
                judge(Some(&newer), visit),
                Err(BusError::Version { source: VersionError::Newer { .. }, .. })
            ));
            assert!(matches!(
                judge(Some("soon"), visit),
                Err(BusError::Version { source: VersionError::NotANumber { .. }, .. })
            ));
        }
        assert_eq!(judge(None, Visit::Host).unwrap(), Verdict::Raise);
        let refused = judge(None, Visit::Guest).unwrap_err();
        assert!(refused.is_bad_input() && !refused.is_transient());
        assert!(refused.to_string().contains("has version 1"), "{refused}");
    }
}
