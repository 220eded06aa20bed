//! Names that are unique among the processes of a host, and stay the same after a restart.
//!
//! A name is held by a socket in the kernel's abstract namespace: no other process of the host can bind it, and it is
//! released when the process ends, however that happens. No file is left behind.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// More processes of one kind on a host are not expected; any beyond this share a name.
const MOST: u32 = 1000;

/// A name, held for as long as this lives.
#[derive(Debug)]
pub struct UniqueName {
    name: String,
    held: Option<UnixListener>,
}

impl UniqueName {
    /// `base`, or `base-2`, `base-3`, … where other processes of this `kind` hold that.
    pub fn free(kind: &str, base: &str) -> Self {
        let names = (1..=MOST).map(|n| if n == 1 { base.to_owned() } else { format!("{base}-{n}") });
        let mut tried = names.map(|name| Self::given(kind, &name));
        tried.find(Self::is_unique).unwrap_or_else(|| Self { name: base.to_owned(), held: None })
    }

    /// Exactly this name, even if another process of this `kind` has it.
    pub fn given(kind: &str, name: &str) -> Self {
        let address = SocketAddr::from_abstract_name(format!("ferry/{kind}/{name}"));
        let held = address.and_then(|address| UnixListener::bind_addr(&address)).ok();
        Self { name: name.to_owned(), held }
    }

    /// False when another process holds the name.
    pub fn is_unique(&self) -> bool {
        self.held.is_some()
    }

    pub fn as_str(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_while_they_are_held_and_come_back() {
        let base = format!("host{}", std::process::id());
        let [first, second, third] = [(); 3].map(|()| UniqueName::free("test", &base));
        assert_eq!(
            [&first, &second, &third].map(|name| name.as_str().replacen(&base, "host", 1)),
            ["host", "host-2", "host-3"]
        );
        drop(second);
        assert_eq!(UniqueName::free("test", &base).as_str(), format!("{base}-2"));
        assert_eq!(UniqueName::free("other", &base).as_str(), base, "another kind does not matter");
        assert!(!UniqueName::given("test", &base).is_unique());
    }
}
