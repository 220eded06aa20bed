//! The configuration of one server of a cluster.

use std::fmt::Write as _;

use super::{ServerAddress, bracketed};

/// Paths are relative to the server's folder, in which it must be started: the folder may lie anywhere.
pub(super) fn text(index: usize, places: &[ServerAddress], accounts: &str) -> String {
    let ServerAddress { host: _, port, route } = &places[index];
    let address = if places.iter().all(|place| is_loopback(&place.host)) { "127.0.0.1" } else { "0.0.0.0" };
    let mut text = format!(
        r#"# Written by `ferry cluster init`. Start it with `ferry cluster start` on this folder.
server_name: "ferry-{number}"
listen: "{address}:{port}"
pid_file: "server.pid"
log_file: "server.log"
log_size_limit: 50MB
ping_interval: "10s"
ping_max: 2
max_payload: 1MB
write_deadline: "10s"
# Everyone connects over TLS and proves to have the key of a user below.
tls {{ cert_file: "server.pem", key_file: "server.key", timeout: 5 }}
# Every write is on disk before it is confirmed. The disk alone limits the store: without a limit here it would be three
# quarters of what is free when the server starts, less after every restart.
jetstream {{ store_dir: "store", max_memory_store: 64MB, max_file_store: 1000TB, sync_interval: always }}
"#,
        number = index + 1,
    );
    if places.len() > 1 {
        let others = places.iter().enumerate().filter(|(other, _)| *other != index);
        let routes: Vec<String> = others
            .map(|(_, place)| format!("\"tls://{}:{}\"", bracketed(&place.host), place.route))
            .collect();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"cluster {{
  name: "ferry", listen: "{address}:{route}", no_advertise: true
  routes: [ {routes} ]
  # Servers show each other a certificate of this cluster's authority.
  tls {{ cert_file: "server.pem", key_file: "server.key", ca_file: "authority.pem", verify: true, timeout: 5 }}
}}
"#,
            routes = routes.join(", "),
        );
    }
    text + accounts
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str) -> ServerAddress {
        ServerAddress { host: host.into(), port: 4222, route: 6222 }
    }

    #[test]
    fn a_server_for_this_machine_alone_is_not_open_to_others() {
        assert!(text(0, &[place("127.0.0.1")], "").contains("listen: \"127.0.0.1:4222\""));
        let open = text(0, &[place("head")], "");
        assert!(open.contains("listen: \"0.0.0.0:4222\"") && !open.contains("cluster {"));
    }

    #[test]
    fn each_server_of_a_cluster_knows_the_others() {
        let text = text(1, &[place("a"), place("b"), place("::1")], "");
        assert!(text.contains(r#"routes: [ "tls://a:6222", "tls://[::1]:6222" ]"#), "{text}");
    }
}
