//! What keys do.

use shared::protocol::JobChange;

use super::*;
use crate::commands::watch::model::{Mode, Pane};

fn chosen(world: &World) -> usize {
    world.model.current().unwrap()
}

/// The requests that were asked for.
fn asked(actions: &[Action]) -> Vec<(JobChange, Vec<JobId>)> {
    match actions {
        [Action::Ask(question)] => question.changes.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_list_is_moved_through_and_the_choice_stays_with_its_job() {
    let mut world = World::busy();
    assert_eq!(chosen(&world), 0);
    world.type_in("jj");
    assert_eq!(chosen(&world), 2);
    world.record(0, done("cpu0"));
    assert_eq!((chosen(&world), world.model.current_row()), (2, Some(1)), "it has moved up");
    world.type_in("G");
    assert_eq!(chosen(&world), 10);
    world.type_in("k");
    assert_eq!(chosen(&world), 5);
    world.press(Key::Home);
    assert_eq!(chosen(&world), 1);
    world.press(Key::Up);
    world.press(Key::PageDown);
    assert_eq!(world.model.current_row(), Some(10));
}

#[test]
fn a_filter_is_checked_while_it_is_typed() {
    let mut world = World::busy();
    world.type_in("/state=run");
    let Mode::Filter(typed) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!((typed.text.as_str(), &typed.error), ("state=run", &None));
    world.type_in("ning sed=3⏎");
    let Mode::Filter(typed) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    let error = typed.error.as_deref().unwrap();
    assert!(error.contains("no `sed`") && error.contains("did you mean `seed`?"), "{error}");
    assert_eq!(world.model.jobs.rows(), 16, "nothing is hidden by a filter that means nothing");
    (0..5).for_each(|_| drop(world.press(Key::Backspace)));
    world.type_in("⏎");
    assert_eq!((world.model.filter.as_str(), world.model.jobs.rows()), ("state=running", 3));
    // The list follows what happens.
    world.record(0, done("cpu0"));
    assert_eq!((world.model.jobs.rows(), chosen(&world)), (2, 1));
    world.press(Key::Escape);
    assert_eq!((world.model.filter.as_str(), world.model.jobs.rows()), ("", 16));
    world.type_in("/'state=failed");
    let Mode::Filter(typed) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!(typed.error.as_deref(), Some("a quotation mark is not closed"));
    world.press(Key::Escape);
    assert_eq!((&world.model.mode, world.model.jobs.rows()), (&Mode::Browse, 16));
}

#[test]
fn a_filter_that_shows_nothing_is_no_trap() {
    let mut world = World::of(2);
    world.type_in("/state=failed⏎");
    assert_eq!((world.model.jobs.rows(), world.model.current()), (0, None));
    assert_eq!(world.type_in("jkGg⏎pT"), []);
    assert_eq!(world.model.notice.as_deref(), Some("there is no job to train again"));
    world.press(Key::Escape);
    assert_eq!(chosen(&world), 0);
}

#[test]
fn a_change_is_confirmed_before_it_is_asked_for() {
    let mut world = World::busy();
    assert_eq!(world.type_in("p"), []);
    let Mode::Confirm(question) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!(question.what, "pause weak seed=0");
    assert_eq!(world.type_in("n"), []);
    assert_eq!(
        (&world.model.mode, world.model.notice.as_deref()),
        (&Mode::Browse, Some("nothing was changed"))
    );
    assert_eq!(asked(&world.type_in("py")), [(JobChange::Pause, vec![id(0)])]);
    let answer = "pause (1 job): done".to_owned();
    world.model.update(Message::Answered(answer.clone()));
    assert_eq!(world.model.notice, Some(answer));
}

#[test]
fn capital_letters_mean_all_jobs_that_are_shown() {
    let mut world = World::busy();
    world.type_in("P");
    let Mode::Confirm(question) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!(question.what, "pause 10 jobs (6 left as they are)");
    world.type_in("n/group=strong⏎");
    let changes = asked(&world.type_in("Cy"));
    assert_eq!(changes, [(JobChange::Cancel, [1, 7, 11, 13, 15, 9].map(id).to_vec())]);
    let changes = asked(&world.type_in("Ty"));
    assert_eq!(changes, [(JobChange::TrainAnew, [3, 5].map(id).to_vec())]);
    world.type_in("/⏎");
    world.press(Key::Escape);
    let mut changes = asked(&world.type_in("Ty"));
    changes.sort_by_key(|(_, jobs)| jobs.len());
    assert_eq!(changes[0], (JobChange::Resume, vec![id(6)]), "what failed goes on");
}

#[test]
fn a_priority_is_typed_as_a_number() {
    let mut world = World::busy();
    world.type_in("n1x");
    world.press(Key::Enter);
    let Mode::Priority { typed, all: false } = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!(typed.error.as_deref(), Some("write a whole number from -100 to 100, where 0 is normal"));
    world.press(Key::Backspace);
    world.type_in("0⏎");
    let Mode::Confirm(question) = &world.model.mode else { panic!("{:?}", world.model.mode) };
    assert_eq!(question.what, "change the priority of weak seed=0");
    assert_eq!(question.consequence, "Workers take jobs of a higher priority first.");
    let priority = |number| JobChange::Priority { priority: Priority::new(number).ok() };
    assert_eq!(asked(&world.type_in("y")), [(priority(10), vec![id(0)])]);
    let changes = asked(&world.type_in("N-5⏎y"));
    assert_eq!((changes.len(), &changes[0].0, changes[0].1.len()), (1, &priority(-5), 11));
    let changes = asked(&world.type_in("n0⏎y"));
    assert_eq!(changes, [(JobChange::Priority { priority: None }, vec![id(0)])], "as the sweep has it");
    world.type_in("n7");
    world.press(Key::Escape);
    assert_eq!(world.model.mode, Mode::Browse);
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut world = World::busy();
    for (keys, said) in [
        ("x", "`x` does nothing here; ? lists the keys"),
        ("r", "weak seed=0 is running: nothing to resume"),
        ("t", "weak seed=0 is running: nothing to train again"),
    ] {
        assert_eq!((world.type_in(keys), world.model.notice.as_deref()), (vec![], Some(said)));
    }
    world.model.update(Message::Silent);
    world.type_in("p");
    assert!(world.model.notice.as_deref().unwrap().contains("does not answer"));
    world.present();
    world.model.rights = Rights::Observe;
    for key in ["p", "C", "f"] {
        assert_eq!(world.type_in(key), []);
        assert!(world.model.notice.as_deref().unwrap().contains("observer's credential"), "{key}");
        assert_eq!(world.model.mode, Mode::Browse);
    }
    world.model.rights = Rights::Steer;
    world.model.rest();
    world.type_in("p");
    assert!(world.model.notice.as_deref().unwrap().starts_with("nothing runs here"));
}

#[test]
fn panes_take_keys_one_after_the_other() {
    let mut world = World::busy();
    let mut focus = Vec::new();
    for _ in 0..4 {
        world.press(Key::Tab);
        focus.push(world.model.focus);
    }
    assert_eq!(focus, [Pane::Workers, Pane::Ensembles, Pane::Log, Pane::Jobs]);
    world.press(Key::BackTab);
    assert_eq!(world.model.focus, Pane::Log);
    world.press(Key::Up);
    assert_eq!(world.model.scrolled, 1);
    world.press(Key::Home);
    assert_eq!(world.model.scrolled, 6, "seven lines");
    world.press(Key::End);
    assert_eq!(world.model.scrolled, 0);
    (0..2).for_each(|_| drop(world.press(Key::Tab)));
    world.type_in("jj⏎");
    assert_eq!((world.model.focus, chosen(&world)), (Pane::Jobs, 2), "the job of that worker");
}

#[test]
fn details_are_read_and_left() {
    let mut world = World::busy();
    world.type_in("⏎GGk");
    let Mode::Details { job, line } = world.model.mode.clone() else { panic!("{:?}", world.model.mode) };
    assert_eq!((job, line), (id(0), world.model.details(0).len() - 2));
    assert_eq!(world.type_in("q"), []);
    assert_eq!(world.model.mode, Mode::Browse);
    assert_eq!(world.type_in("q"), [Action::Quit]);
    assert_eq!(world.press(Key::Interrupt), [Action::Quit]);
    assert_eq!(world.press(Key::Suspend), [Action::Suspend]);
    world.type_in("?");
    assert_eq!(world.type_in("q"), [Action::Quit]);
}

#[test]
fn details_tell_all_that_is_known() {
    let mut world = World::busy();
    world.steer(0, JobChange::Pause);
    insta::assert_snapshot!(world.model.details(0).join("\n"));
    insta::assert_snapshot!(world.model.details(6).join("\n"));
    insta::assert_snapshot!(world.model.details(3).join("\n"));
}
