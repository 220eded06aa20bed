//! What each role may do, as the server's accounts.
//!
//! Permissions on subjects alone are not enough: the *reply* subject of a request is not checked against them, so whoever
//! may ask the server anything can have the answer stored under any subject. Therefore all streams belong to the
//! coordinator's account, and workers and observers have accounts without streams: the server grants them single
//! requests (service imports), and answers go to the account that asked.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use shared::bus::Role;
use shared::protocol::subjects;

/// One request that is granted to a role.
struct Grant {
    /// The subject in the coordinator's account.
    subject: String,
    answers: Answers,
}

/// How many messages answer a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    One,
    Many,
}

fn one(subject: String) -> Grant {
    Grant { subject, answers: Answers::One }
}

fn api(request: &str) -> Grant {
    one(format!("{}.{request}", subjects::API))
}

fn many(request: &str) -> Grant {
    Grant { answers: Answers::Many, ..api(request) }
}

/// What `role` may ask for; the coordinator needs no grant.
fn grants(role: Role) -> Vec<Grant> {
    let stores = subjects::OBJECT_STORES.map(subjects::object_stream);
    let values = [subjects::BOOKS_STREAM, subjects::PRESENCE_STREAM];
    let mut grants = Vec::new();
    let (queue, consumer) = (subjects::QUEUE_STREAM, subjects::QUEUE_CONSUMER);
    // Reading: what is there, values by key, messages of the object stores by number.
    for stream in stores.iter().map(String::as_str).chain(values).chain([queue]) {
        grants.push(api(&format!("STREAM.INFO.{stream}")));
    }
    grants.push(api(&format!("CONSUMER.INFO.{queue}.{consumer}")));
    for stream in values {
        grants.push(api(&format!("DIRECT.GET.{stream}.>")));
    }
    for stream in stores.iter().map(String::as_str).chain(values) {
        grants.push(api(&format!("STREAM.MSG.GET.{stream}")));
    }
    match role {
        Role::Coordinator => return Vec::new(),
        Role::Observer => {
            // Plans of sweeps are objects among the results.
            grants.push(many(&format!("DIRECT.GET.{}", subjects::object_stream(subjects::RESULTS))));
        }
        Role::Worker => {
            for bucket in [subjects::CHECKPOINTS, subjects::PACKS, subjects::WEIGHTS] {
                grants.push(many(&format!("DIRECT.GET.{}", subjects::object_stream(bucket))));
            }
            grants.push(many(&format!("CONSUMER.MSG.NEXT.{queue}.{consumer}")));
            grants.push(one(format!("$JS.ACK.{queue}.{consumer}.>")));
            grants.extend(subjects::WORKERS_OWN.map(|keys| one(subjects::books_subject(keys))));
            grants.push(one(subjects::presence_subject("*")));
            for bucket in [subjects::CHECKPOINTS, subjects::RESULTS] {
                grants.push(one(subjects::object_chunks(bucket, "*")));
                grants.push(one(subjects::object_description(bucket, "*")));
            }
            grants.push(one(subjects::LIVE_ALL.to_owned()));
        }
    }
    grants
}

impl Grant {
    /// The subject in the guest's account. JetStream's own subjects cannot be used there: in an account without streams
    /// the server itself would also answer, that there are none.
    fn as_guest(&self) -> String {
        if self.subject.starts_with("$JS.ACK.") {
            return self.subject.clone();
        }
        let request = self.subject.strip_prefix(subjects::API).map(|rest| rest.trim_start_matches('.'));
        format!("{}.{}", subjects::GUEST_API, request.unwrap_or(&self.subject))
    }
}

fn account(role: Role) -> &'static str {
    match role {
        Role::Coordinator => "FERRY",
        Role::Worker => "WORKERS",
        Role::Observer => "OBSERVERS",
    }
}

/// The accounts block; `keys` are the users' public keys.
pub(super) fn accounts(keys: &[(Role, String); 3]) -> String {
    let mut text =
        "# Nobody is a user of the system account.\nsystem_account: SYS\naccounts {\n  SYS {}\n".to_owned();
    for (role, key) in keys {
        // Writing to a string cannot fail.
        let _ = match role {
            Role::Coordinator => owner(&mut text, key),
            Role::Worker | Role::Observer => guest(&mut text, *role, key),
        };
    }
    text + "}\n"
}

fn owner(text: &mut String, key: &str) -> std::fmt::Result {
    let mut exports: BTreeMap<String, (Answers, Vec<&str>)> = BTreeMap::new();
    for role in [Role::Worker, Role::Observer] {
        for grant in grants(role) {
            exports.entry(grant.subject).or_insert((grant.answers, Vec::new())).1.push(account(role));
        }
    }
    writeln!(text, "  FERRY {{\n    jetstream: enabled\n    users: [ {{ nkey: {key} }} ]\n    exports: [")?;
    for (subject, (answers, accounts)) in exports {
        let kind = match answers {
            Answers::One => "singleton",
            Answers::Many => "stream",
        };
        let accounts = accounts.join(", ");
        writeln!(
            text,
            "      {{ service: \"{subject}\", response_type: {kind}, accounts: [ {accounts} ] }}"
        )?;
    }
    let (live, observers) = (subjects::LIVE_ALL, account(Role::Observer));
    writeln!(text, "      {{ stream: \"{live}\", accounts: [ {observers} ] }}\n    ]\n  }}")
}

fn guest(text: &mut String, role: Role, key: &str) -> std::fmt::Result {
    let grants = grants(role);
    let allowed: Vec<String> = grants.iter().map(|grant| format!("\"{}\"", grant.as_guest())).collect();
    let mut heard = vec![format!("\"{}.>\"", role.inbox())];
    if role == Role::Observer {
        heard.push(format!("\"{}\"", subjects::LIVE_ALL));
    }
    writeln!(text, "  {} {{\n    users: [ {{ nkey: {key}, permissions: {{", account(role))?;
    writeln!(text, "      publish: {{ allow: [\n        {}\n      ] }}", allowed.join("\n        "))?;
    writeln!(text, "      subscribe: {{ allow: [ {} ] }}\n    }} }} ]\n    imports: [", heard.join(", "))?;
    for grant in &grants {
        let (subject, to) = (&grant.subject, grant.as_guest());
        let to = if to == *subject { String::new() } else { format!(", to: \"{to}\"") };
        writeln!(text, "      {{ service: {{ account: FERRY, subject: \"{subject}\" }}{to} }}")?;
    }
    if role == Role::Observer {
        writeln!(text, "      {{ stream: {{ account: FERRY, subject: \"{}\" }} }}", subjects::LIVE_ALL)?;
    }
    writeln!(text, "    ]\n  }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(role: Role) -> Vec<String> {
        grants(role).into_iter().map(|grant| grant.subject).collect()
    }

    #[test]
    fn an_observer_writes_nothing() {
        for subject in granted(Role::Observer) {
            let reads = ["STREAM.INFO.", "CONSUMER.INFO.", "DIRECT.GET.", "STREAM.MSG.GET."];
            let request = subject.strip_prefix("$JS.API.").unwrap_or_default();
            assert!(reads.iter().any(|read| request.starts_with(read)), "{subject}");
        }
    }

    #[test]
    fn a_worker_makes_no_stream_and_no_consumer_and_publishes_no_job() {
        for subject in granted(Role::Worker) {
            let makes = ["CREATE", "UPDATE", "DELETE", "PURGE", "RESTORE", "SNAPSHOT"];
            assert!(!makes.iter().any(|word| subject.contains(word)), "{subject}");
            for own in [
                "ferry.job.",
                "$KV.ferry_books.order",
                "$KV.ferry_books.sweep",
                "$KV.ferry_books.timing",
                "$KV.ferry_books.priorities",
                "$KV.ferry_books.drains",
                "$KV.ferry_books.ensembles",
                "$KV.ferry_books.>",
            ] {
                assert!(!subject.starts_with(own), "{subject}");
            }
            assert!(
                !subject.starts_with("$O.ferry_packs") && !subject.starts_with("$O.ferry_weights"),
                "{subject}"
            );
        }
    }

    #[test]
    fn guests_ask_under_a_prefix_of_their_own() {
        for role in [Role::Worker, Role::Observer] {
            for grant in grants(role) {
                let guest = grant.as_guest();
                assert!(guest.starts_with("ferry.api.") || guest.starts_with("$JS.ACK."), "{guest}");
                assert!(!guest.contains("$JS.API"), "{guest}");
            }
        }
    }
}
