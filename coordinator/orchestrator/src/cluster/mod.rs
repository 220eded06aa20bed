//! A guarded server for several machines: what `ferry cluster init` writes.
//!
//! One folder per server, to be copied to its machine: configuration, certificate, key. Beside them one credential per
//! role. The authority that signed the certificates exists only while they are made: its key is never written.

mod access;
mod certificates;
mod config;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use shared::bus::Role;
use shared::bus::credential::NewUser;
use shared::files::write_private;

use certificates::Authority;
pub use certificates::CertificateProblem;

/// The cluster to make.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names or addresses under which clients reach the servers: all names of a single one, else one per server.
    pub hosts: Vec<String>,
    /// Port for clients of the first server.
    pub port: u16,
    /// 1, or 3 (or 5) for a cluster that survives the loss of 1 (or 2) of them.
    pub servers: usize,
}

/// Why a cluster cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("{} exists already and is not overwritten: name another folder, or move it away", .0.display())]
    Occupied(PathBuf),
    #[error("a cluster has 1, 3 or 5 servers, not {0}: a majority of them must stay up")]
    Servers(usize),
    #[error(
        "{servers} servers need {servers} --host options, or one for all of them, but {hosts} were given"
    )]
    Hosts { servers: usize, hosts: usize },
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    #[error("port {0} is too high: the servers need the ports after it, and those 2000 above")]
    Port(u16),
    #[error(transparent)]
    Certificate(#[from] CertificateProblem),
    #[error("cannot make the key of the {role}: {source}")]
    Key { role: Role, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Folder of each server and where its clients find it.
    pub servers: Vec<(PathBuf, String)>,
    /// All of these, as `--nats` wants them.
    pub url: String,
    /// The last day on which the certificates are valid, as YYYY-MM-DD.
    pub until: String,
}

/// Where one server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServerAddress {
    host: String,
    port: u16,
    /// For the other servers.
    route: u16,
}

/// From a server's port for clients to its port for the other servers (4222 and 6222 by convention).
const ROUTE: u16 = 2000;

/// Writes everything below `dir`, which must not exist: whole, or not at all.
pub fn make(dir: &Path, request: &Request) -> Result<Made, ClusterError> {
    let places = places(request)?;
    if dir.symlink_metadata().is_ok() {
        return Err(ClusterError::Occupied(dir.to_owned()));
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let partial = dir.with_file_name(format!(".{name}.partial-{}", std::process::id()));
    let made = write(&partial, dir, request, &places).and_then(|made| {
        fs::rename(&partial, dir).map_err(|source| ClusterError::Write { path: dir.to_owned(), source })?;
        Ok(made)
    });
    if made.is_err() {
        let _leftover = fs::remove_dir_all(&partial); // The error that led here says more.
    }
    made
}

fn write(
    partial: &Path,
    dir: &Path,
    request: &Request,
    places: &[ServerAddress],
) -> Result<Made, ClusterError> {
    let authority = Authority::new()?;
    let users = Role::ALL.map(|role| (role, NewUser::draw()));
    folder(partial)?;
    for (role, user) in &users {
        let text = user
            .credential(*role, places.len(), authority.certificate())
            .map_err(|source| ClusterError::Key { role: *role, source: source.into() })?;
        file(&partial.join(format!("{role}.creds")), &text)?;
    }
    let keys = users.map(|(role, user)| (role, user.public_key()));
    let mut names = request.hosts.clone();
    names.extend(["localhost", "127.0.0.1"].map(str::to_owned));
    names.dedup();
    let mut servers = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let name = format!("server-{}", index + 1);
        let own = partial.join(&name);
        folder(&own)?;
        let (certificate, key) = authority.sign(&name, &names)?;
        file(&own.join("server.pem"), &certificate)?;
        file(&own.join("server.key"), &key)?;
        file(&own.join("authority.pem"), authority.certificate())?;
        file(&own.join("server.conf"), &config::text(index, places, &access::accounts(&keys)))?;
        servers.push((dir.join(name), format!("tls://{}:{}", bracketed(&place.host), place.port)));
    }
    let url = servers.iter().map(|(_, url)| url.as_str()).collect::<Vec<_>>().join(",");
    Ok(Made { servers, url, until: authority.until() })
}

/// Servers that share a host take ports one after the other.
fn places(request: &Request) -> Result<Vec<ServerAddress>, ClusterError> {
    let &Request { ref hosts, port, servers } = request;
    if ![1, 3, 5].contains(&servers) {
        return Err(ClusterError::Servers(servers));
    }
    if hosts.is_empty() || (servers > 1 && hosts.len() > 1 && hosts.len() != servers) {
        return Err(ClusterError::Hosts { servers, hosts: hosts.len() });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    if let Some(bad) = hosts.iter().find(|host| host.is_empty() || !host.chars().all(plain)) {
        return Err(ClusterError::Host(bad.clone()));
    }
    let of = |index: usize| {
        let host = hosts.get(if hosts.len() == servers { index } else { 0 }).unwrap_or(&hosts[0]);
        let before =
            (0..index).filter(|&other| hosts.len() != servers || hosts[other] == *host).count() as u16;
        let port = port.checked_add(before).filter(|&port| port > 0)?;
        Some(ServerAddress { host: host.clone(), port, route: port.checked_add(ROUTE)? })
    };
    (0..servers).map(of).collect::<Option<_>>().ok_or(ClusterError::Port(port))
}

/// A host as it is written before a port: IPv6 addresses take brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn folder(path: &Path) -> Result<(), ClusterError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|source| ClusterError::Write { path: path.to_owned(), source })
}

fn file(path: &Path, text: &str) -> Result<(), ClusterError> {
    write_private(path, text.as_bytes())
        .map_err(|source| ClusterError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use shared::bus::Credential;

    use super::*;

    fn request(hosts: &[&str], servers: usize) -> Request {
        Request { hosts: hosts.iter().map(|&host| host.to_owned()).collect(), port: 4222, servers }
    }

    #[test]
    fn everything_is_written_for_its_owner_alone_and_never_over_something() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("c");
        let made = make(&dir, &request(&["head", "10.0.0.1"], 1)).unwrap();
        assert_eq!(made.url, "tls://head:4222");
        for role in Role::ALL {
            let credential = Credential::read(&dir.join(format!("{role}.creds"))).unwrap();
            assert_eq!((credential.role(), credential.replicas()), (role, 1));
        }
        let mut names = Vec::new();
        for folder in [dir.clone(), dir.join("server-1")] {
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
            for entry in fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
                assert_eq!(
                    entry.metadata().unwrap().permissions().mode() & 0o777,
                    0o600,
                    "{:?}",
                    entry.path()
                );
                names.push(entry.file_name().into_string().unwrap());
            }
        }
        names.sort();
        let expected = [
            "authority.pem",
            "coordinator.creds",
            "observer.creds",
            "server.conf",
            "server.key",
            "server.pem",
            "worker.creds",
        ];
        assert_eq!(names, expected);
        let config = fs::read_to_string(dir.join("server-1/server.conf")).unwrap();
        for role in Role::ALL {
            let credential = fs::read_to_string(dir.join(format!("{role}.creds"))).unwrap();
            let seed = credential.lines().find_map(|line| line.strip_prefix("seed: ")).unwrap();
            assert!(!config.contains(seed), "no seed is on the server");
        }
        assert!(!config.contains(root.path().to_str().unwrap()), "the folder may be moved");
        assert!(matches!(make(&dir, &request(&["head"], 1)), Err(ClusterError::Occupied(_))));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn servers_of_one_host_share_no_port() {
        let ports = |hosts: &[&str]| {
            places(&request(hosts, 3)).unwrap().iter().map(|p| (p.port, p.route)).collect::<Vec<_>>()
        };
        assert_eq!(ports(&["a"]), [(4222, 6222), (4223, 6223), (4224, 6224)]);
        assert_eq!(ports(&["a", "b", "c"]), [(4222, 6222); 3]);
        assert_eq!(ports(&["a", "b", "a"]), [(4222, 6222), (4222, 6222), (4223, 6223)]);
    }

    #[test]
    fn requests_that_cannot_be_met_are_refused() {
        assert!(matches!(places(&request(&["a"], 2)), Err(ClusterError::Servers(2))));
        assert!(matches!(places(&request(&["a", "b"], 3)), Err(ClusterError::Hosts { .. })));
        assert!(matches!(places(&request(&[], 1)), Err(ClusterError::Hosts { .. })));
        for bad in ["", "a b", "a\"b", "a/b", "a}"] {
            assert!(matches!(places(&request(&[bad], 1)), Err(ClusterError::Host(_))), "{bad}");
        }
        let high = Request { port: 65_000, ..request(&["a"], 1) };
        assert!(matches!(places(&high), Err(ClusterError::Port(65_000))));
    }
}
