//! Every layout is recognised by its names.

use super::*;

#[test]
fn vggface2_is_recognised_by_its_classifier_in_every_pickle() {
    let shapes = with(resnet50(), &[("fc.weight", &[8631, 2]), ("fc.bias", &[8631])]);
    for era in [TorchFormat::Old, TorchFormat::Latin1, TorchFormat::New, TorchFormat::Buffer] {
        let bytes = numpy_pickle(&arrays(&shapes), era);
        assert_eq!(open(&bytes).unwrap().format, Format::NumpyPickle);
        let (understood, file) = converted(&bytes, &Options::default());
        assert_eq!(understood.mapping.layout, Layout::Vggface2);
        assert_eq!(understood.mapping.topology, Some(Topology::Caffe));
        assert_eq!(understood.preprocessing, Preprocessing::Vggface2Bgr);
        let (spec, store, variables) = network(Backbone::Vggface2Resnet50, Backbone::DinoResnet50);
        fill(Slot::Emotion, &file, &spec, &variables).unwrap();
        holds(&store, "emotion.features.7.0.conv3.weight", "layer4.0.conv3.weight");
        // The other branch has the other topology.
        let reason = fill(Slot::Appearance, &file, &spec, &variables).unwrap_err().to_string();
        assert!(reason.contains("it holds a ResNet50 in Caffe's topology"), "{reason}");
    }
    let bytes = numpy_pickle(&arrays(&shapes), TorchFormat::Old);
    assert_eq!(
        refusal(&bytes, &options(Some(Layout::Torchvision))),
        "its classifier has VGGFace2's 8631 identities, so its topology is caffe, not torchvision"
    );
}

#[test]
fn dino_checkpoints_contain_two_networks_with_heads() {
    let student = prefixed(&resnet50(), "module.backbone.");
    let student =
        with(student, &[("module.head.mlp.0.weight", &[3, 3]), ("module.head.last_layer.weight_g", &[3, 1])]);
    let both: Shapes =
        ["student", "teacher"].iter().flat_map(|key| prefixed(&student, &format!("{key}."))).collect();
    let bytes = numpy_pickle(&arrays(&both), TorchFormat::New);
    assert_eq!(
        refusal(&bytes, &Options::default()),
        "the file contains several networks, student and teacher: choose one with --key"
    );
    let chosen = Options { key: Some("teacher".to_owned()), ..Options::default() };
    let (understood, file) = converted(&bytes, &chosen);
    assert_eq!(
        (understood.mapping.layout, understood.mapping.topology),
        (Layout::Dino, Some(Topology::Torchvision))
    );
    assert_eq!(
        (understood.prefix.as_str(), understood.dropped.len()),
        ("module.backbone.", student.len() + 2)
    );
    let (spec, store, variables) = network(Backbone::DinoResnet50, Backbone::Resnet18);
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.features.0.weight", "teacher.module.backbone.conv1.weight");
    let wrong = Options { key: Some("ema".to_owned()), ..Options::default() };
    assert_eq!(refusal(&bytes, &wrong), "the file has no `ema`; it has student, teacher");
}

fn without(shapes: &Shapes, prefix: &str) -> Shapes {
    shapes
        .iter()
        .filter_map(|(name, shape)| Some((name.strip_prefix(prefix)?.to_owned(), shape.clone())))
        .collect()
}

#[test]
fn dan_gives_a_backbone_and_heads() {
    let shapes = without(&fragments::dan(Backbone::Resnet18, SMALL, 2), "emotion.");
    let shapes = with(shapes, &[("fc.weight", &[8, 32]), ("bn.running_mean", &[8])]);
    let (understood, file) = converted(&torch_file(&["model_state_dict"], &shapes), &Options::default());
    assert_eq!((understood.mapping.layout, understood.mapping.holds.heads), (Layout::Dan, 2));
    let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Resnet18);
    fill(Slot::Heads, &file, &spec, &variables).unwrap();
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.cat_head1.sa.conv_3x1.0.bias", "cat_head1.sa.conv_3x1.0.bias");
    holds(&store, "emotion.features.4.0.conv2.weight", "features.4.0.conv2.weight");
    let error = fill(Slot::Appearance, &file, &spec, &variables).unwrap_err();
    assert!(matches!(error.problem, FileError::Unfit(_)), "{error}");
    // Heads fit any backbone of the same width.
    let (spec, _, variables) = network(Backbone::Vggface2Resnet50, Backbone::Resnet18);
    fill(Slot::Heads, &file, &spec, &variables).unwrap();
}

/// cvnets' name of a timm variable.
fn cvnets_name(name: &str) -> String {
    let swaps = [
        ("stem.", "conv_1.block."),
        (".bn.", ".norm."),
        (".conv1_1x1.", ".block.exp_1x1.block."),
        (".conv2_kxk.", ".block.conv_3x3.block."),
        (".conv3_1x1.", ".block.red_1x1.block."),
        (".conv_kxk.", ".local_rep.0.block."),
        (".conv_1x1.weight", ".local_rep.1.block.conv.weight"),
        (".conv_proj.", ".conv_proj.block."),
        (".transformer.0.norm1.", ".global_rep.0.pre_norm_attn.0."),
        (".transformer.0.attn.qkv_proj.", ".global_rep.0.pre_norm_attn.1.qkv_proj.block.conv."),
        (".transformer.0.attn.out_proj.", ".global_rep.0.pre_norm_attn.1.out_proj.block.conv."),
        (".transformer.0.norm2.", ".global_rep.0.pre_norm_ffn.0."),
        (".transformer.0.mlp.fc1.", ".global_rep.0.pre_norm_ffn.1.block.conv."),
        (".transformer.0.mlp.fc2.", ".global_rep.0.pre_norm_ffn.3.block.conv."),
        (".1.norm.weight", ".1.global_rep.1.weight"),
        (".1.norm.bias", ".1.global_rep.1.bias"),
    ];
    let mut name = name.to_owned();
    for stage in (0..5).rev() {
        name = name.replace(&format!("stages.{stage}."), &format!("layer_{}.", stage + 1));
    }
    swaps.iter().fold(name, |name, (timm, cvnets)| name.replace(timm, cvnets))
}

#[test]
fn cvnets_names_become_timms() {
    let shape = crate::models::mobilevitv2::Shape { width: 0.25, depths: [1; 3] };
    let shapes: Shapes =
        fragments::mobilevitv2(shape).into_iter().map(|(name, shape)| (cvnets_name(&name), shape)).collect();
    assert!(shapes.contains_key("layer_4.1.global_rep.1.weight"), "{shapes:?}");
    let shapes = with(shapes, &[("classifier.1.weight", &[3, 128])]);
    let (understood, file) = converted(&torch_file(&[], &shapes), &Options::default());
    assert_eq!((understood.mapping.layout, understood.dropped.len()), (Layout::Cvnets, 1));
    let (spec, store, variables) = network(Backbone::Resnet18, Backbone::Mobilevitv2);
    fill(Slot::Appearance, &file, &spec, &variables).unwrap();
    holds(&store, "appearance.features.stages.4.1.norm.bias", "layer_5.1.global_rep.1.bias");
}

#[test]
fn ox_vggs_names_mean_caffes_topology() {
    let rename = |name: &str| {
        let (layer, field) = name.rsplit_once('.').unwrap();
        let is_norm = layer.contains("bn") || layer.ends_with("downsample.1");
        let stem = match layer.split('.').collect::<Vec<_>>().as_slice() {
            [stage, block, rest @ ..] => {
                let stage = stage["layer".len()..].parse::<usize>().unwrap() + 1;
                let block = block.parse::<usize>().unwrap() + 1;
                let part = match rest {
                    ["conv1" | "bn1"] => "1x1_reduce",
                    ["conv2" | "bn2"] => "3x3",
                    ["conv3" | "bn3"] => "1x1_increase",
                    _ => "1x1_proj",
                };
                format!("conv{stage}_{block}_{part}")
            }
            _ => "conv1_7x7_s2".to_owned(),
        };
        format!("{stem}{}.{field}", if is_norm { "_bn" } else { "" })
    };
    let shapes: Shapes = resnet50().into_iter().map(|(name, shape)| (rename(&name), shape)).collect();
    let shapes = with(shapes, &[("classifier.weight", &[8631, 2, 1, 1])]);
    let (understood, file) = converted(&torch_file(&[], &shapes), &Options::default());
    assert_eq!(
        (understood.mapping.layout, understood.mapping.topology),
        (Layout::OxVgg, Some(Topology::Caffe))
    );
    let (spec, store, variables) = network(Backbone::Vggface2Resnet50, Backbone::Resnet18);
    fill(Slot::Emotion, &file, &spec, &variables).unwrap();
    holds(&store, "emotion.features.6.0.downsample.1.bias", "conv4_1_1x1_proj_bn.bias");
}

#[test]
fn the_authors_network_fills_every_slot() {
    for appearance in [Backbone::Vggface2Resnet50, Backbone::DinoResnet50, Backbone::Mobilevitv2] {
        let (spec, ..) = network(Backbone::Vggface2Resnet50, appearance);
        let rename = |name: String| {
            let rest = |prefix: &str| name.strip_prefix(prefix).map(str::to_owned);
            if let Some(rest) = rest("emotion.features.") {
                return format!("em_feature.features.0.{rest}");
            }
            if let Some(rest) = rest("emotion.reduce.") {
                let (number, rest) = rest.split_once('.').unwrap();
                return format!("em_feature.conv1x1_{}.{rest}", number.parse::<u32>().unwrap() + 1);
            }
            if let Some(rest) = rest("emotion.") {
                return format!("em_feature.model.{rest}");
            }
            if let Some(rest) = rest("shared.") {
                return format!("classfier.{rest}");
            }
            if let Some(rest) = rest("appearance.project.") {
                let linear = appearance == Backbone::DinoResnet50;
                return if linear {
                    format!("lm_feature.fc.{}", &rest[2..])
                } else {
                    format!("conv1x1_lm.{rest}")
                };
            }
            let rest = rest("appearance.features.").unwrap();
            match appearance {
                Backbone::Vggface2Resnet50 => {
                    let (child, rest) = rest.split_once('.').unwrap();
                    let index = match child {
                        "conv1" => 0,
                        "bn1" => 1,
                        stage => stage["layer".len()..].parse::<usize>().unwrap() + 3,
                    };
                    format!("lm_feature.base.{index}.{rest}")
                }
                Backbone::Mobilevitv2 => {
                    let name = cvnets_name(&rest).replace("conv_1.block", "0.block");
                    format!("lm_feature.0.{}", name.strip_prefix("layer_").unwrap_or(&name))
                }
                _ => format!("lm_feature.{rest}"),
            }
        };
        let mut shapes = fragments::mtl(&spec).unwrap();
        shapes.remove("affinity.centres");
        let shapes: Shapes = shapes.into_iter().map(|(name, shape)| (rename(name), shape)).collect();
        let dead: [(&str, &[usize]); 3] = [
            ("em_feature.fc.weight", &[6, 32]),
            ("em_feature.model.features.0.weight", &[4, 3, 7, 7]),
            ("em_feature.model.bn.bias", &[8]),
        ];
        let bytes = torch_file(&["model_state_dict"], &prefixed(&with(shapes, &dead), "module."));
        let (understood, file) = converted(&bytes, &Options::default());
        assert_eq!((understood.mapping.layout, understood.dropped.len()), (Layout::Abaw, 3));
        assert_eq!(understood.mapping.holds.appearance, Some(appearance));
        let (spec, store, variables) = network(Backbone::Vggface2Resnet50, appearance);
        for slot in Slot::ALL {
            fill(slot, &file, &spec, &variables).unwrap();
        }
        holds(&store, "emotion.features.0.weight", "module.em_feature.features.0.0.weight");
    }
}
