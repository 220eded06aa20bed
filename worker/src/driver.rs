//! The GPUs that this process sees, as the CUDA driver describes them. The only file that calls `libcuda`.
//!
//! Without CUDA's headers, libtorch gives neither a GPU's name nor its UUID. The driver does, also for MIG instances. It
//! lists only the GPUs in `CUDA_VISIBLE_DEVICES`, in libtorch's order.

#![expect(unsafe_code, reason = "calls into the driver's library")]

use std::ffi::{CStr, c_char, c_int};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

/// The driver's library.
pub const LIBRARY: &str = "libcuda.so.1";

/// One GPU or MIG instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    pub name: String,
    /// In bytes.
    pub memory: u64,
    /// As `nvidia-smi -L` writes it.
    pub uuid: String,
}

/// Why the driver gives no list.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error(transparent)]
    Library(#[from] libloading::Error),
    /// See CUresult in NVIDIA's documentation.
    #[error("{call} of the CUDA driver failed with error {code}")]
    Call { call: &'static str, code: c_int },
}

/// The GPUs that the driver in `library` lists, in the order of CUDA's device numbers.
///
/// # Errors
///
/// The library cannot be opened, or one of its calls fails.
pub fn gpus(library: &str) -> Result<Vec<Gpu>, DriverError> {
    // SAFETY: opening runs initialisers; the driver's are designed for it.
    let driver = Driver { library: unsafe { Library::open(Some(library), RTLD_NOW | RTLD_LOCAL) }? };
    let gpus = driver.gpus();
    // libtorch uses the driver too, so it must not be closed.
    std::mem::forget(driver);
    gpus
}

struct Driver {
    library: Library,
}

impl Driver {
    fn gpus(&self) -> Result<Vec<Gpu>, DriverError> {
        // SAFETY: names and signatures are those of cuda.h; every pointer is valid during its call.
        unsafe {
            let initialise: Symbol<unsafe extern "C" fn(u32) -> c_int> = self.library.get(c"cuInit")?;
            let count: Symbol<unsafe extern "C" fn(*mut c_int) -> c_int> =
                self.library.get(c"cuDeviceGetCount")?;
            succeeded("cuInit", initialise(0))?;
            let mut devices = 0;
            succeeded("cuDeviceGetCount", count(&raw mut devices))?;
            (0..devices).map(|index| self.gpu(index)).collect()
        }
    }

    fn gpu(&self, index: c_int) -> Result<Gpu, DriverError> {
        let mut handle: c_int = 0;
        let mut name: [c_char; 256] = [0; 256];
        let mut memory: usize = 0;
        let mut uuid = [0u8; 16];
        // SAFETY: as above; the given length is that of the name's buffer, and a UUID has 16 bytes.
        unsafe {
            let get: Symbol<unsafe extern "C" fn(*mut c_int, c_int) -> c_int> =
                self.library.get(c"cuDeviceGet")?;
            let get_name: Symbol<unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int> =
                self.library.get(c"cuDeviceGetName")?;
            let total: Symbol<unsafe extern "C" fn(*mut usize, c_int) -> c_int> =
                self.library.get(c"cuDeviceTotalMem_v2")?;
            // The second version gives a MIG instance's own UUID, not its GPU's.
            let get_uuid: Symbol<unsafe extern "C" fn(*mut u8, c_int) -> c_int> =
                self.library.get(c"cuDeviceGetUuid_v2")?;
            succeeded("cuDeviceGet", get(&raw mut handle, index))?;
            succeeded("cuDeviceGetName", get_name(name.as_mut_ptr(), name.len() as c_int - 1, handle))?;
            succeeded("cuDeviceTotalMem", total(&raw mut memory, handle))?;
            succeeded("cuDeviceGetUuid", get_uuid(uuid.as_mut_ptr(), handle))?;
        }
        // SAFETY: the last byte of the buffer is never written, so a zero ends the name.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let uuid = format!("{}-{}", prefix(&name), uuid::Uuid::from_bytes(uuid));
        Ok(Gpu { name, memory: memory as u64, uuid })
    }
}

/// The name of a MIG instance contains its GPU and its shape: `NVIDIA H100 80GB HBM3 MIG 1g.10gb`.
fn prefix(name: &str) -> &'static str {
    if name.contains(" MIG ") { "MIG" } else { "GPU" }
}

const fn succeeded(call: &'static str, code: c_int) -> Result<(), DriverError> {
    if code == 0 { Ok(()) } else { Err(DriverError::Call { call, code }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// A driver with two devices. The second one fails if `broken`.
    fn fake(folder: &Path, broken: bool) -> String {
        let source = folder.join("driver.c");
        let fails = if broken { "device == 101" } else { "0" };
        let text = format!(
            r#"#include <stddef.h>
            #include <string.h>
            int cuInit(unsigned flags) {{ return flags != 0; }}
            int cuDeviceGetCount(int *count) {{ *count = 2; return 0; }}
            int cuDeviceGet(int *device, int index) {{ *device = 100 + index; return 0; }}
            int cuDeviceGetName(char *name, int length, int device) {{
                strncpy(name, device == 100 ? "NVIDIA H100" : "NVIDIA H100 MIG 1g.10gb", length);
                return {fails} ? 999 : 0;
            }}
            int cuDeviceTotalMem_v2(size_t *bytes, int device) {{ *bytes = (size_t)device << 30; return 0; }}
            int cuDeviceGetUuid_v2(unsigned char *uuid, int device) {{ memset(uuid, device, 16); return 0; }}"#
        );
        std::fs::write(&source, text).unwrap();
        let library = folder.join("libcuda.so.1");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let made = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
        assert!(made.unwrap().success());
        library.to_str().unwrap().to_owned()
    }

    #[test]
    fn names_memory_and_uuids_come_from_the_driver() {
        let folder = tempfile::tempdir().unwrap();
        let gpus = gpus(&fake(folder.path(), false)).unwrap();
        let gpu = |name: &str, memory: u64, uuid: &str| Gpu {
            name: name.to_owned(),
            memory: memory << 30,
            uuid: uuid.to_owned(),
        };
        assert_eq!(
            gpus,
            [
                gpu("NVIDIA H100", 100, "GPU-64646464-6464-6464-6464-646464646464"),
                gpu("NVIDIA H100 MIG 1g.10gb", 101, "MIG-65656565-6565-6565-6565-656565656565"),
            ]
        );
    }

    #[test]
    fn a_failed_call_and_a_missing_library_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let error = gpus(&fake(folder.path(), true)).unwrap_err().to_string();
        assert_eq!(error, "cuDeviceGetName of the CUDA driver failed with error 999");
        assert!(matches!(gpus("libferry_absent.so"), Err(DriverError::Library(_))));
    }
}
