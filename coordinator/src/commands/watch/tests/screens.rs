//! What the screen looks like.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use shared::protocol::{EnsembleState, Scoreboard, ScoredEnsemble};

use super::*;
use crate::commands::watch::draw::{Look, draw};
use crate::commands::watch::marks::width;

fn drawn(model: &Model, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(model, Look { colour: false }, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(columns.into()).map(|cells| {
        let (mut line, mut skipped) = (String::new(), 0);
        for cell in cells {
            // A wide character takes the next cell, too.
            if skipped == 0 {
                line.push_str(cell.symbol());
                skipped = width(cell.symbol());
            }
            skipped = skipped.saturating_sub(1);
        }
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_running_sweep() {
    let world = World::busy();
    insta::assert_snapshot!("running_80x24", drawn(&world.model, 80, 24));
    insta::assert_snapshot!("running_200x50", drawn(&world.model, 200, 50));
    insta::assert_snapshot!("running_40x10", drawn(&world.model, 40, 10));
}

#[test]
fn ensembles_with_scores() {
    let mut world = World::busy();
    let ensemble = |name: &str, state| ScoredEnsemble {
        name: name.to_owned(),
        candidates: 8,
        waiting: 5,
        failed: 0,
        state,
    };
    let shown = |world: &World| -> Vec<String> {
        let screen = drawn(&world.model, 120, 40);
        let lines = screen.lines().skip_while(|line| !line.starts_with("─ Ensembles"));
        lines.skip(1).take(2).map(str::to_owned).collect()
    };
    let told = |world: &mut World, sweep: &str, weak| {
        let best = EnsembleState::Unscored { why: "a member has no predictions".to_owned() };
        let board = Scoreboard::new(vec![ensemble("Weak", weak), ensemble("Best two", best)]);
        world.book(Change::Scoreboard { sweep: sweep.to_owned(), board });
    };
    let so_far = || EnsembleState::Provisional { members: 2, val_macro_f1: 61.255 };
    told(&mut world, "another", so_far());
    assert!(!shown(&world).concat().contains("F1"), "{:?}", shown(&world));
    told(&mut world, "demo", so_far());
    let lines = shown(&world);
    assert!(lines[0].contains("1/8 done   F1 61.26 so far · waits for 2 running, 3 pending"), "{lines:?}");
    assert!(lines[1].contains("3/16 done  no score · waits for 3 running, 7 pending"), "{lines:?}");
    told(&mut world, "demo", EnsembleState::Final { members: 2, val_macro_f1: 62.0 });
    assert!(shown(&world)[0].contains("done   final F1 62.00 · 2 members"), "{:?}", shown(&world));
}

#[test]
fn a_filter() {
    let mut world = World::busy();
    world.type_in("/group=weak epoch>1⏎");
    insta::assert_snapshot!("filter_80x24", drawn(&world.model, 80, 24));
    insta::assert_snapshot!("filter_200x50", drawn(&world.model, 200, 50));
    world.type_in("N12");
    insta::assert_snapshot!("priority_80x24", drawn(&world.model, 80, 24));
    world.press(Key::Escape);
    world.type_in("/ sate=failed⏎");
    insta::assert_snapshot!("filter_with_an_error", drawn(&world.model, 80, 24));
}

#[test]
fn many_jobs_of_which_only_the_visible_ones_are_looked_at() {
    let mut world = World::of(10_000);
    for n in 0..4000 {
        world.record(n, running("cpu0", (n % 12) as u32));
    }
    world.present();
    world.type_in("G");
    (0..3000).for_each(|_| drop(world.press(Key::Up)));
    insta::assert_snapshot!("many_80x24", drawn(&world.model, 80, 24));
    insta::assert_snapshot!("many_200x50", drawn(&world.model, 200, 50));
}

#[test]
fn a_server_that_is_away() {
    let mut world = World::busy();
    world.model.update(Message::Silent);
    world.model.update(Message::Tick(Duration::from_secs(140)));
    insta::assert_snapshot!("away_80x24", drawn(&world.model, 80, 24));
    insta::assert_snapshot!("away_200x50", drawn(&world.model, 200, 50));
}

#[test]
fn an_observer() {
    let mut world = World::busy();
    world.model.rights = Rights::Observe;
    world.type_in("p");
    insta::assert_snapshot!("observer_80x24", drawn(&world.model, 80, 24));
    insta::assert_snapshot!("observer_200x50", drawn(&world.model, 200, 50));
}

#[test]
fn a_home_at_rest() {
    let mut world = World::of(3);
    world.record(0, done("cpu0"));
    world.result(result(0, "cpu0", 61.25));
    world.model.place = ".ferry".to_owned();
    world.model.rest();
    insta::assert_snapshot!("rest_80x24", drawn(&world.model, 80, 24));
}

#[test]
fn questions_details_and_help() {
    let mut world = World::busy();
    world.type_in("C");
    insta::assert_snapshot!("question_80x24", drawn(&world.model, 80, 24));
    world.type_in("n⏎");
    insta::assert_snapshot!("details_80x24", drawn(&world.model, 80, 24));
    world.type_in("⏎?");
    insta::assert_snapshot!("help_80x24", drawn(&world.model, 80, 24));
}

#[test]
fn a_terminal_that_is_too_small_says_so() {
    let world = World::busy();
    insta::assert_snapshot!(drawn(&world.model, 39, 9), @"
    39×9 is too small: 40×10 is needed. q
    quits.
    ");
    assert_eq!(drawn(&world.model, 1, 1).lines().count(), 1);
}

#[test]
fn every_size_can_be_drawn_in_every_mode() {
    let mut world = World::busy();
    for keys in ["", "/seed=1", "\u{1}", "C", "n⏎", "⏎?"] {
        world.type_in(keys);
        for (columns, rows) in
            (30..150).step_by(7).flat_map(|columns| [(columns, 10), (columns, 17), (columns, 60)])
        {
            drawn(&world.model, columns, rows);
        }
        world.press(Key::Escape);
    }
}

#[test]
fn without_colours_the_same_is_said() {
    let world = World::busy();
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(&world.model, Look { colour: false }, frame)).unwrap();
    let plain = terminal.backend().buffer().clone();
    assert!(plain.content.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
    terminal.draw(|frame| draw(&world.model, Look { colour: true }, frame)).unwrap();
    let coloured = terminal.backend().buffer();
    assert!(coloured.content.iter().any(|cell| cell.fg != ratatui::style::Color::Reset));
    for (plain, coloured) in plain.content.iter().zip(&coloured.content) {
        assert_eq!(plain.symbol(), coloured.symbol());
    }
}

/// Names and texts of other machines: long, wide, or with what a terminal would obey.
#[test]
fn strange_texts_stay_in_their_places() {
    let mut plan = plan(6);
    plan.name = "a-very-long-name-of-a-sweep-that-nobody-would-choose-but-somebody-does".to_owned();
    plan.jobs[0].group = "顔認識".repeat(20);
    plan.jobs[1].group = "x\u{1b}[2Jy\nz".to_owned();
    plan.ensembles[0].name = "Ensemble ".repeat(9);
    let mut model =
        Model::new(plan, "nats://head:4222,nats://b:4222,nats://c:4222".to_owned(), Rights::Steer, 0);
    let mut record = running("a-worker-with-quite-a-long-name", 3);
    record.history.log =
        Some(LogTail::of(Attempt(1), 5, &["tab\there \u{1b}[31mred".to_owned(), "長い行".repeat(40)]));
    let entry = BookEntry { job: id(0), record, revision: 5, written_nanos: 1 };
    let fed = Fed { revision: 5, written_nanos: 1, change: Change::Record(Box::new(entry)) };
    model.update(Message::Book(Box::new(fed)));
    insta::assert_snapshot!("strange_80x24", drawn(&model, 80, 24));
}
