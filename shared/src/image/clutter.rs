//! What file managers, archivers and notebooks leave in folders of images.

/// Names in lower case.
const NAMES: [&str; 9] = [
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
];

/// True for hidden entries (`.DS_Store`, `._1.jpg`, `.ipynb_checkpoints`) and files that programs leave beside images.
pub fn is_clutter(name: &str) -> bool {
    name.starts_with('.') || NAMES.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_from_clutter() {
        for name in
            ["Thumbs.db", "desktop.ini", "Icon\r", "._1.jpg", ".DS_Store", "__MACOSX", ".ipynb_checkpoints"]
        {
            assert!(is_clutter(name), "{name}");
        }
        for name in ["1.jpg", "Icon.png", "thumbs.jpg", "desktop"] {
            assert!(!is_clutter(name), "{name}");
        }
    }
}
