//! The most memory that this process had at once, as Linux counts it.

/// Measures from when it is made.
#[derive(Debug)]
pub struct HostPeak {
    is_begun: bool,
}

impl HostPeak {
    /// Forgets the peak so far: see `clear_refs` in proc(5).
    pub fn begin() -> Self {
        Self { is_begun: std::fs::write("/proc/self/clear_refs", "5").is_ok() }
    }

    /// In bytes. `None` where it cannot be measured.
    pub fn bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok().filter(|_| self.is_begun)?;
        kibibytes(&status)?.checked_mul(1024)
    }
}

fn kibibytes(status: &str) -> Option<u64> {
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_process_status() {
        assert_eq!(kibibytes("VmPeak:\t  9 kB\nVmHWM:\t    4096 kB\nVmRSS:\t 1 kB\n"), Some(4096));
        assert_eq!(kibibytes("VmHWM:\tmany kB\n"), None);
        assert!(HostPeak { is_begun: false }.bytes().is_none());
    }
}
