//! Every group of several layouts, against tables written by hand.
use super::launch;
use comm::{Layout, Mesh, Result};

type Table<'a> = &'a [(&'a str, &'a [&'a [usize]])];

fn check(world: usize, layout: Layout, table: Table) {
    launch(world, |group| {
        let me = group.rank();
        let mesh = Mesh::new(group, &layout)?;
        for (axis, groups) in table {
            let members: Vec<usize> = groups.iter().flat_map(|g| g.to_vec()).collect();
            let once =
                (0..world).all(|r| members.iter().filter(|m| **m == r).count() == 1);
            assert!(once, "the table of {axis} does not name each rank once");
            let want = groups.iter().find(|group| group.contains(&me)).unwrap();
            let group = match *axis {
                "data" => mesh.data(),
                "model" => mesh.model(),
                axis => mesh.axis(axis)?,
            };
            assert_eq!(group.members(), *want, "{axis} of rank {me} in {layout:?}");
            assert_eq!(group.members()[group.rank()], me);
        }
        Result::Ok(())
    })
    .unwrap();
}

/// Megatron-LM's own example: 16 GPUs, g0 to g15, tensor 2, pipeline 4 (the docstring
/// of `initialize_model_parallel`).
#[test]
fn sixteen_ranks_of_megatrons_example() {
    check(
        16,
        Layout { tp: 2, pp: 4, ..Layout::default() },
        &[
            (
                "dp",
                &[
                    &[0, 2],
                    &[1, 3],
                    &[4, 6],
                    &[5, 7],
                    &[8, 10],
                    &[9, 11],
                    &[12, 14],
                    &[13, 15],
                ],
            ),
            (
                "tp",
                &[
                    &[0, 1],
                    &[2, 3],
                    &[4, 5],
                    &[6, 7],
                    &[8, 9],
                    &[10, 11],
                    &[12, 13],
                    &[14, 15],
                ],
            ),
            ("pp", &[&[0, 4, 8, 12], &[1, 5, 9, 13], &[2, 6, 10, 14], &[3, 7, 11, 15]]),
            ("model", &[&[0, 1, 4, 5, 8, 9, 12, 13], &[2, 3, 6, 7, 10, 11, 14, 15]]),
        ],
    );
}

/// Data parallel first: neighbours hold the same parameters, not parts of the same
/// matrix. Here small Megatrons have built their tensor groups over the wrong ranks.
#[test]
fn another_order() {
    check(
        8,
        Layout { tp: 2, pp: 2, order: "dp-tp-cp-ep-pp".into(), ..Layout::default() },
        &[
            ("dp", &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]]),
            ("tp", &[&[0, 2], &[1, 3], &[4, 6], &[5, 7]]),
            ("pp", &[&[0, 4], &[1, 5], &[2, 6], &[3, 7]]),
            ("model", &[&[0, 2, 4, 6], &[1, 3, 5, 7]]),
        ],
    );
}

#[test]
fn context_ranks_see_other_tokens_of_the_same_parameters() {
    check(
        8,
        Layout { tp: 2, cp: 2, ..Layout::default() },
        &[
            ("tp", &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]]),
            ("cp", &[&[0, 2], &[1, 3], &[4, 6], &[5, 7]]),
            ("dp", &[&[0, 4], &[1, 5], &[2, 6], &[3, 7]]),
            ("data", &[&[0, 2, 4, 6], &[1, 3, 5, 7]]),
            ("tp-cp", &[&[0, 1, 2, 3], &[4, 5, 6, 7]]),
            ("model", &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]]),
        ],
    );
}

/// Experts are folded over the dense ranks: eight ranks are tp 2 · dp 4 for what every
/// token passes, and ep 4 · edp 2 for experts. The product tp · ep · dp is never asked
/// of the world.
#[test]
fn experts_are_folded_over_dense_ranks() {
    check(
        8,
        Layout { tp: 2, ep: 4, ..Layout::default() },
        &[
            ("tp", &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]]),
            ("dp", &[&[0, 2, 4, 6], &[1, 3, 5, 7]]),
            ("ep", &[&[0, 1, 2, 3], &[4, 5, 6, 7]]),
            ("edp", &[&[0, 4], &[1, 5], &[2, 6], &[3, 7]]),
            ("etp", &[&[0], &[1], &[2], &[3], &[4], &[5], &[6], &[7]]),
        ],
    );
    check(
        8,
        Layout { tp: 2, ep: 2, etp: 2, pp: 2, ..Layout::default() },
        &[
            ("pp", &[&[0, 4], &[1, 5], &[2, 6], &[3, 7]]),
            ("etp", &[&[0, 1], &[2, 3], &[4, 5], &[6, 7]]),
            ("ep", &[&[0, 2], &[1, 3], &[4, 6], &[5, 7]]),
            ("edp", &[&[0], &[1], &[2], &[3], &[4], &[5], &[6], &[7]]),
            ("etp-ep", &[&[0, 1, 2, 3], &[4, 5, 6, 7]]),
            ("dp", &[&[0, 2], &[1, 3], &[4, 6], &[5, 7]]),
        ],
    );
}

#[test]
fn layouts_that_do_not_fit_are_named() {
    let says = |world: usize, layout: Layout, what: &str| {
        let error = launch(world, |group| Mesh::new(group, &layout).map(|_| ()));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let base = Layout::default();
    says(6, Layout { tp: 4, ..base.clone() }, "6 ranks do not divide by tp 4");
    says(6, Layout { tp: 4, ..base.clone() }, "8 would");
    says(6, Layout { ep: 4, ..base.clone() }, "ep 4");
    says(2, Layout { tp: 0, ..base.clone() }, "tp 0");
    let order = |order: &str| Layout { order: order.into(), ..base.clone() };
    says(2, order("tp-dp"), "expected each of tp, cp, ep, dp, pp once");
    says(2, order("tp-tp-cp-ep-dp-pp"), "once");
    says(2, order("tp-cp-ep-dp-xx"), "once");
    // Stages between axes of different sizes.
    let split = Layout { tp: 4, pp: 2, order: "tp-pp-cp-ep-dp".into(), ..base };
    says(8, split, "have pp last");
}

#[test]
fn an_axis_is_divided_into_neighbours() {
    launch(8, |group| {
        let me = group.rank();
        let mut mesh = Mesh::new(group, &Layout { tp: 4, ..Layout::default() })?;
        for (n, part) in [(1, "one"), (2, "two"), (4, "four")] {
            mesh.divide("tp", n, part)?;
            let want: Vec<usize> = (0..8).filter(|r| r / n == me / n).collect();
            assert_eq!(mesh.axis(part)?.members(), want);
        }
        for (axis, n, part) in [("tp", 3, "x"), ("tp", 0, "x"), ("tp", 2, "two")] {
            let error = mesh.divide(axis, n, part).unwrap_err().to_string();
            assert!(error.contains(&format!("4 ranks of `tp` in groups of {n}")));
        }
        assert!(mesh.divide("none", 1, "x").is_err());
        Result::Ok(())
    })
    .unwrap();
}

#[test]
fn the_ends_of_an_axis() {
    launch(8, |group| {
        let me = group.rank();
        let mut mesh = Mesh::new(group, &Layout { pp: 4, ..Layout::default() })?;
        // Stages are the slowest axis: two ranks each.
        mesh.ends("pp", "both")?;
        let want = match me / 2 {
            0 | 3 => vec![me % 2, 6 + me % 2],
            _ => vec![me],
        };
        assert_eq!(mesh.axis("both")?.members(), want);
        mesh.ends("cp", "one")?;
        assert_eq!(mesh.axis("one")?.members(), [me]);
        let error = mesh.ends("pp", "one").unwrap_err().to_string();
        assert!(error.contains("`one`: expected a name that is new"), "{error}");
        assert!(mesh.ends("none", "x").is_err());
        Result::Ok(())
    })
    .unwrap();
}
