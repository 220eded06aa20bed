//! `CUDA_VISIBLE_DEVICES`, as CUDA reads it: which of a machine's GPUs a process may see.

/// The variable.
pub const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// What the variable says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visible {
    /// It is not set.
    All,
    /// No GPU, in one of the spellings that users and schedulers use.
    None,
    /// These, by number or by the beginning of a UUID.
    Named(Vec<String>),
}

/// An entry that is not a GPU and not a way to say "none". CUDA would silently see fewer GPUs, or none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a GPU: use numbers (0,1) or UUIDs (GPU-8f3a…)")]
pub struct BadEntry(pub String);

/// CUDA stops reading at such an entry: the GPUs after it are invisible.
const NONE: [&str; 5] = ["", "-1", "none", "void", "nodevfiles"];

impl Visible {
    /// Reads the variable of this process.
    ///
    /// # Errors
    /// When the variable names something that is not a GPU.
    pub fn of_process() -> Result<Self, BadEntry> {
        let value = std::env::var_os(VARIABLE);
        Self::read(value.map(|value| value.to_string_lossy().into_owned()).as_deref())
    }

    /// Reads the variable's value, `None` if it is not set.
    ///
    /// # Errors
    /// As [`Self::of_process`].
    pub fn read(value: Option<&str>) -> Result<Self, BadEntry> {
        let Some(value) = value else { return Ok(Self::All) };
        let entries = value.split(',').map(str::trim);
        let named: Vec<&str> =
            entries.take_while(|entry| !NONE.contains(&entry.to_ascii_lowercase().as_str())).collect();
        match named.iter().find(|entry| !is_gpu(entry)) {
            Some(bad) => Err(BadEntry((*bad).to_owned())),
            None if named.is_empty() => Ok(Self::None),
            None => Ok(Self::Named(named.into_iter().map(str::to_owned).collect())),
        }
    }
}

/// True for a number or a UUID, of a GPU or of a MIG instance.
fn is_gpu(entry: &str) -> bool {
    let upper = entry.to_ascii_uppercase();
    let is_uuid = ["GPU-", "MIG-"].iter().any(|kind| upper.len() > kind.len() && upper.starts_with(kind));
    is_uuid || (!entry.is_empty() && entry.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_read_as_cuda_reads_it() {
        let read = |value: &str| Visible::read(Some(value));
        let named =
            |entries: &[&str]| Ok(Visible::Named(entries.iter().map(|&entry| entry.to_owned()).collect()));
        assert_eq!(Visible::read(None), Ok(Visible::All));
        for none in ["", " ", "-1", "-1,0", "none", "NoDevFiles"] {
            assert_eq!(read(none), Ok(Visible::None), "{none:?}");
        }
        assert_eq!(read("0,1"), named(&["0", "1"]));
        assert_eq!(read(" 2 , gpu-8f3a"), named(&["2", "gpu-8f3a"]));
        assert_eq!(read("0,-1,2"), named(&["0"]));
        assert_eq!(read("MIG-a1,"), named(&["MIG-a1"]));
        for (wrong, entry) in
            [("all", "all"), ("0;1", "0;1"), ("0,gpu1", "gpu1"), ("GPU-", "GPU-"), ("cuda:0", "cuda:0")]
        {
            assert_eq!(read(wrong), Err(BadEntry(entry.to_owned())), "{wrong}");
        }
    }
}
