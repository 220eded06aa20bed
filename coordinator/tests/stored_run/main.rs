//! Run folders and their reports, from 38 made-up results in the shape of the paper's sweep.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod report;
#[cfg(test)]
mod run_dir;
