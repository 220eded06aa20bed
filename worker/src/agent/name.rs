//! What a worker is called. It is judged by its name, so every worker needs one of its own that outlives a restart.

use shared::unique_name::UniqueName;

use crate::device::DeviceChoice;

const KIND: &str = "worker";

/// The name that was given, else one made of host and device that no other worker of the host has.
pub(super) fn choose(given: Option<&str>, host: &str, device: DeviceChoice) -> UniqueName {
    let Some(given) = given else { return UniqueName::free(KIND, &base(host, device)) };
    let name = UniqueName::given(KIND, given);
    if !name.is_unique() {
        tracing::warn!(
            "another worker on this host is called {given}: both are judged as one; give each its own --name"
        );
    }
    name
}

/// It is mostly the device that is judged, so one that was chosen is part of the name.
fn base(host: &str, device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Auto | DeviceChoice::Cpu => host.to_owned(),
        DeviceChoice::Cuda(index) => format!("{host}-gpu{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 19: workers of one host have different names, and a restarted one has its name again.
    #[test]
    fn workers_without_a_name_get_different_ones_that_stay() {
        let host = format!("host{}", std::process::id());
        let chosen = |device| choose(None, &host, device);
        let [first, second, gpu] = [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(1)].map(chosen);
        let names = [&first, &second, &gpu].map(|name| name.as_str().replacen(&host, "host", 1));
        assert_eq!(names, ["host", "host-2", "host-gpu1"]);
        drop(second);
        assert_eq!(chosen(DeviceChoice::Auto).as_str(), format!("{host}-2"));
        let [given, same] = [(); 2].map(|()| choose(Some(&host), "other", DeviceChoice::Cpu));
        assert_eq!((given.as_str(), same.as_str()), (host.as_str(), host.as_str()), "a given name is kept");
    }
}
