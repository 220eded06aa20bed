//! Run folders and their reports, from 38 made-up results in the shape of the paper's sweep.

#[cfg(test)]
mod fixture;
mod report;
mod run_dir;
