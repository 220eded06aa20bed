//! What the screen makes of what it is told.

use std::time::Duration;

use shared::books::JobRecord;
use shared::bus::RequestEntry;
use shared::ids::RequestId;
use shared::protocol::{Answer, Demand, JobChange, LiveReport, Priority, Request};

use super::*;
use crate::commands::watch::job::State;
use crate::commands::watch::model::Server;

fn counts(world: &World) -> [usize; 6] {
    State::ALL.map(|state| world.model.jobs.counts().of(state))
}

#[test]
fn jobs_are_counted_and_listed_by_their_state() {
    let world = World::busy();
    assert_eq!(counts(&world), [3, 1, 7, 1, 3, 1], "running, failed, pending, paused, done, cancelled");
    let rows: Vec<usize> = (0..16).filter_map(|row| world.model.jobs.at(row)).collect();
    assert_eq!(rows, [0, 1, 2, 6, 7, 8, 11, 12, 13, 14, 15, 9, 3, 4, 5, 10]);
    assert_eq!(world.model.jobs.at(16), None);
    for (row, place) in rows.into_iter().enumerate() {
        assert_eq!(world.model.jobs.row(place), Some(row));
    }
    assert_eq!(world.model.best, Some((55.0, 5)));
    let ensemble = &world.model.ensembles[0];
    assert_eq!((ensemble.counts.of(State::Done), ensemble.candidates.len()), (1, 8));
    assert_eq!(ensemble.waits_for(), "waits for 2 running, 3 pending, 1 failed, 1 cancelled");
    assert_eq!((ensemble.best, ensemble.awaits), (Some((54.0, 4)), Some(0)));
}

#[test]
fn a_job_moves_to_its_new_place_and_takes_what_is_old_for_old() {
    let mut world = World::busy();
    world.record(7, running("node7-gpu1", 0));
    assert_eq!((counts(&world), world.model.jobs.row(7)), ([4, 1, 6, 1, 3, 1], Some(3)));
    world.revision = 2;
    world.record(7, JobRecord::pending());
    assert_eq!(counts(&world), [4, 1, 6, 1, 3, 1], "an older revision of the record");
}

#[test]
fn a_result_counts_only_for_the_attempt_that_finished_the_job() {
    let mut world = World::of(2);
    world.record(0, done("cpu0"));
    assert_eq!(world.model.jobs.score(0), None);
    world.result(JobResult { attempt: Attempt(9), ..result(0, "cpu0", 99.0) });
    assert_eq!(world.model.jobs.score(0), None);
    world.result(result(0, "cpu0", 61.0));
    assert_eq!(world.model.jobs.score(0), Some(61.0));
    // Trained anew: the old result stays in the books, and means nothing.
    world.record(0, running("cpu0", 3));
    assert_eq!((world.model.jobs.score(0), world.model.jobs.epoch(0)), (Some(3.0), 3));
}

#[test]
fn what_is_wanted_is_looked_up_once_at_the_start_and_then_after_each_answer() {
    let request = |answer| {
        let request = RequestId::new(Uuid::from_u128(7));
        let demand = Demand::Jobs { jobs: vec![id(3)], change: JobChange::Pause };
        let request = Request { answer, ..Request::new(request, "demo", "ada", demand) };
        Change::Request(RequestEntry { request, revision: 1, written_nanos: 0 })
    };
    let done = || Some(Answer::Done { remarks: Vec::new() });
    let mut model = Model::new(plan(4), "x".to_owned(), Rights::Steer, 3);
    let mut told =
        |revision, change| model.update(Message::Book(Box::new(Fed { revision, written_nanos: 1, change })));
    assert_eq!(told(2, request(done())), [], "while the books are read");
    assert_eq!(told(3, request(None)), [Action::Look((0..4).map(id).collect())]);
    assert_eq!(told(4, request(None)), []);
    assert_eq!(told(5, request(done())), [Action::Look([id(3)].into())]);
}

#[test]
fn reading_ends_even_if_the_newest_entry_is_gone() {
    let mut model = Model::new(plan(2), "x".to_owned(), Rights::Steer, 99);
    let present = || Message::Present { workers: Vec::new(), drains: Drains::default() };
    let fed = Fed { revision: 5, written_nanos: 1, change: Change::Result(Box::new(result(0, "a", 1.0))) };
    model.update(Message::Book(Box::new(fed)));
    assert_eq!(model.update(present()), [], "something came since the last look");
    assert_eq!(model.update(present()).len(), 1);
    assert_eq!(model.reading, None);
}

#[test]
fn a_server_that_is_away_is_away_since_its_first_silence() {
    let mut world = World::busy();
    world.model.update(Message::Silent);
    world.model.update(Message::Tick(Duration::from_secs(90)));
    world.model.update(Message::Silent);
    assert_eq!(world.model.server, Server::Away { since: Duration::from_secs(75) });
    world.present();
    assert_eq!(world.model.server, Server::Answers);
}

#[test]
fn the_next_jobs_are_those_of_the_highest_priority_with_the_most_work() {
    let mut world = World::of(4);
    world.record(1, record(shared::books::JobState::Pending, 6));
    world.steer(3, JobChange::First);
    world.steer(2, JobChange::Priority { priority: Some(Priority::LEAST) });
    world.present();
    assert_eq!(world.model.next, [id(3), id(0), id(1), id(2)]);
    world.steer(0, JobChange::Cancel);
    world.steer(3, JobChange::Priority { priority: None });
    world.present();
    assert_eq!(world.model.next, [id(3), id(1), id(2)]);
}

#[test]
fn a_changed_plan_keeps_what_is_known() {
    let mut world = World::busy();
    let entry =
        BookEntry { job: id(17), record: running("cpu1", 2), revision: 90, written_nanos: 61 * SECOND };
    let added = vec![(entry, None)];
    let actions = world.model.update(Message::Planned { plan: Box::new(plan(18)), added });
    assert_eq!(counts(&world), [4, 1, 8, 1, 3, 1]);
    assert!(matches!(actions.as_slice(), [Action::Look(jobs)] if jobs.contains(&id(17))));
    let fewer = Message::Planned { plan: Box::new(plan(4)), added: Vec::new() };
    world.model.update(fewer);
    assert_eq!((counts(&world), world.model.jobs.rows()), ([3, 0, 0, 0, 1, 0], 4));
}

#[test]
fn progress_within_an_epoch_ends_with_the_job() {
    let mut world = World::busy();
    let report = LiveReport { worker: worker("cpu0"), job: id(0), epoch: 8, epochs: 12, step: 5, steps: 10 };
    world.model.update(Message::Live(report.clone()));
    world.model.update(Message::Live(LiveReport { job: id(500), ..report }));
    assert_eq!(world.model.live.len(), 1, "that of another sweep is not kept");
    world.record(0, JobRecord::pending());
    assert!(world.model.live.is_empty());
}

#[test]
fn time_goes_on_while_something_is_left_to_do() {
    let world = World::busy();
    let elapsed = |goes_on| world.model.times.elapsed(Duration::from_secs(75), goes_on).as_secs();
    assert_eq!((elapsed(true), elapsed(false)), (135, 60), "60 s in the books, and 75 s since");
}
