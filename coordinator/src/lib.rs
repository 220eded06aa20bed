//! The coordinator: expands, admits, watches, assembles.
