//! Run folders and their reports, from 38 made-up results in the shape of the paper's sweep, and from those of another
//! trainer.

#[cfg(test)]
mod ensemble_search;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod other_trainer;
#[cfg(test)]
mod report;
#[cfg(test)]
mod run_dir;
#[cfg(test)]
mod version_2;
#[cfg(test)]
mod why;
