//! Writes decoded images in order to the staged pack, the counts and the list of problems, with regular checkpoints.

use shared::pack::{PackWriter, Sample, Split};

use super::ImportError;
use super::problems::{Consequence, Problem, Reason};
use super::source::{Read, Source};
use super::staging::{Entry, StagedImport, Staging};
use super::tally::{Origin, Tally};

/// Takes images in the order of the source.
#[derive(Debug)]
pub(super) struct Sink<'a> {
    source: &'a Source,
    staging: Staging,
    writer: PackWriter,
    images_per_checkpoint: usize,
    done: usize,
    /// Images that the journal covers.
    noted: usize,
    training_images: u64,
    tally: Tally,
    problems: Vec<Problem>,
    /// Counts since the last journal line.
    recent: Tally,
    recent_problems: usize,
}

impl<'a> Sink<'a> {
    pub(super) fn new(source: &'a Source, import: StagedImport, images_per_checkpoint: usize) -> Self {
        let StagedImport { staging, writer, done, tally, problems, notes: _ } = import;
        Self {
            source,
            staging,
            training_images: writer.samples(Split::Train),
            writer,
            images_per_checkpoint,
            done,
            noted: done,
            tally,
            recent_problems: problems.len(),
            problems,
            recent: Tally::default(),
        }
    }

    /// How many images were handled, in the pack or not.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn training_images(&self) -> u64 {
        self.training_images
    }

    /// Problems of images, in the order of the images.
    pub(super) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Takes the next images.
    pub(super) fn take(&mut self, images: Vec<Result<Read, Reason>>) -> Result<(), ImportError> {
        for read in images {
            self.one(read)?;
        }
        if self.done - self.noted >= self.images_per_checkpoint {
            self.note()?;
        }
        Ok(())
    }

    fn one(&mut self, read: Result<Read, Reason>) -> Result<(), ImportError> {
        let found = &self.source.found;
        let candidate = &found.candidates[self.done];
        self.done += 1;
        let file = found.file(candidate);
        let problem = |reason, consequence| Problem::of_image(file.clone(), reason, consequence);
        match read {
            Err(reason) => self.problems.push(problem(reason, Consequence::LeftOut)),
            Ok(Read { picture, landmarks, note }) => {
                let split = found.folder(candidate).split;
                self.writer.add(&Sample {
                    split,
                    id: &found.id(candidate),
                    label: candidate.label,
                    landmarks: landmarks.as_ref().map(|(points, _, _)| points),
                    pixels: &picture.pixels,
                })?;
                self.training_images += u64::from(split == Split::Train);
                self.problems.extend(note.map(|(reason, consequence)| problem(reason, consequence)));
                self.recent.image(&file.to_string_lossy(), picture.source, &picture.conversions);
                if let Some((_, format, unit)) = landmarks {
                    self.recent.landmarks(format, unit, 1);
                }
            }
        }
        Ok(())
    }

    /// Syncs everything so far to disk and records it in the journal.
    fn note(&mut self) -> Result<(), ImportError> {
        let recent = std::mem::take(&mut self.recent);
        self.tally.add(&recent);
        self.staging.note(&Entry {
            done: self.done,
            checkpoint: self.writer.checkpoint()?,
            tally: recent,
            problems: self.problems[self.recent_problems..].to_vec(),
        })?;
        self.noted = self.done;
        self.recent_problems = self.problems.len();
        Ok(())
    }

    /// Moves the pack to its place; returns its digest and the counts.
    pub(super) fn finish(
        mut self,
        origin: impl FnOnce(&Tally) -> Origin,
    ) -> Result<(String, Tally), ImportError> {
        self.tally.add(&self.recent);
        let origin = serde_json::to_value(origin(&self.tally)).unwrap_or_default();
        self.writer.set_provenance(origin);
        let digest = self.writer.finish()?;
        self.staging.remove();
        Ok((digest, self.tally))
    }

    /// Removes what was staged; returns the counts.
    pub(super) fn abandon(mut self) -> Tally {
        self.tally.add(&self.recent);
        self.staging.remove();
        self.tally
    }
}
