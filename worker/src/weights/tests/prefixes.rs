//! Case 10: prefixes that training scripts put in front of every name, or of some.

use super::*;

fn small() -> Shapes {
    fragments::resnet(Backbone::Resnet18, SMALL)
}

fn with_all(mut shapes: Shapes, more: Shapes) -> Shapes {
    shapes.extend(more);
    shapes
}

fn choose(prefix: &str) -> Options {
    Options { prefix: Some(prefix.to_owned()), ..Options::default() }
}

#[test]
fn a_prefix_of_all_names_is_stripped_and_reported() {
    let automatic = Options::default();
    for (keys, prefix) in [
        (&["state_dict"][..], "_orig_mod."),
        (&["state_dict"], "model."),
        (&[], "module."),
        (&[], "module._orig_mod.encoder."),
        (&["model"], "net.backbone."),
    ] {
        let (understood, file) = converted(&torch_file(keys, &prefixed(&small(), prefix)), &automatic);
        assert_eq!((understood.mapping.layout, understood.prefix.as_str()), (Layout::Torchvision, prefix));
        let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
        fill(Slot::Emotion, &file, &spec, &variables).unwrap();
        holds(&store, "emotion.features.0.weight", &format!("{prefix}conv1.weight"));
    }
    // Without a prefix, nothing is stripped.
    let (understood, _) = converted(&torch_file(&[], &small()), &automatic);
    assert_eq!(understood.prefix, "");
}

#[test]
fn a_prefix_of_some_names_must_be_given() {
    let lightning = with(prefixed(&small(), "encoder."), &[("loss.scale", &[1])]);
    let bytes = torch_file(&["state_dict"], &lightning);
    assert_eq!(
        refusal(&bytes, &Options::default()),
        "not all names belong to one network, but those below `encoder` do (torchvision): add --prefix encoder"
    );
    for spelled in ["encoder", "encoder.", "state_dict.encoder"] {
        let (understood, _) = converted(&bytes, &choose(spelled));
        let dropped = &understood.dropped["state_dict.loss.scale"];
        assert_eq!(dropped, &format!("outside of `{}`", spelled.trim_end_matches('.')));
    }
    assert_eq!(
        refusal(&bytes, &choose("decoder")),
        "no name starts with `decoder.`; they start with encoder, loss"
    );
    let momentum = with_all(prefixed(&small(), "encoder_q."), prefixed(&small(), "encoder_k."));
    assert_eq!(
        refusal(&torch_file(&[], &momentum), &Options::default()),
        "not all names belong to one network, but those below `encoder_k` (torchvision), `encoder_q` (torchvision) do: \
         choose one with --prefix"
    );
    converted(&torch_file(&[], &momentum), &choose("encoder_q"));
}

#[test]
fn a_network_with_another_head_is_not_taken_for_dinos() {
    let supervised =
        with(prefixed(&resnet50(), "backbone."), &[("head.weight", &[6, 4]), ("head.bias", &[6])]);
    let bytes = torch_file(&[], &supervised);
    assert!(refusal(&bytes, &Options::default()).ends_with("add --prefix backbone"));
    assert!(
        refusal(&bytes, &choose("backbone")).starts_with("a ResNet50, whose names do not tell its topology")
    );
}

#[test]
fn an_unknown_network_is_shown_by_the_names_in_the_file() {
    let other = prefixed(&with(Shapes::new(), &[("a.weight", &[2]), ("b.weight", &[2])]), "module.");
    let message = refusal(&torch_file(&[], &other), &Options::default());
    assert!(message.contains("that Ferry knows: module.a.weight, module.b.weight"), "{message}");
}
