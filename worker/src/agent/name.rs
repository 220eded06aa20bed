//! The name of a worker. Failures are counted by name, so every worker needs a unique one that survives a restart.

use shared::unique_name::UniqueName;

use crate::device::DeviceChoice;

const KIND: &str = "worker";

/// The given name, or else a name made of host and device that no other worker on the host has.
pub(super) fn choose(given: Option<&str>, host: &str, device: DeviceChoice) -> UniqueName {
    let Some(given) = given else { return UniqueName::free(KIND, &base(host, device)) };
    let name = UniqueName::given(KIND, given);
    if !name.is_unique() {
        tracing::warn!(
            "another worker on this host is also named {given}, so the failures of one count for both: give each \
             worker its own --name"
        );
    }
    name
}

/// Failures mostly come from the device, so a GPU that was chosen is part of the name.
fn base(host: &str, device: DeviceChoice) -> String {
    match device {
        DeviceChoice::Auto | DeviceChoice::Cpu => host.to_owned(),
        DeviceChoice::Cuda(index) => format!("{host}-gpu{index}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case 19: workers on one host have different names, and a restarted worker gets its old name.
    #[test]
    fn workers_without_a_given_name_get_unique_names_that_survive_a_restart() {
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
