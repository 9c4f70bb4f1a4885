//! What has to hold of every figure.

use std::collections::BTreeSet;

use viz::text_width;

use crate::xml::{Element, parse};

/// Left, top, right, bottom.
type Area = (f64, f64, f64, f64);

/// Checks one figure; answers its elements for more.
pub fn check(svg: &str) -> Vec<Element> {
    let elements = parse(svg).unwrap_or_else(|error| panic!("{error}\nin {svg}"));
    root(&elements);
    ids_and_colours(&elements);
    let view = view(&elements[0]);
    let texts = texts(&elements);
    for (i, (words, area)) in texts.iter().enumerate() {
        assert!(inside(*area, view, 0.5), "`{words}` at {area:?} leaves {view:?}");
        for (other, place) in &texts[..i] {
            let apart = area.0 >= place.2 - 0.05
                || place.0 >= area.2 - 0.05
                || area.1 >= place.3 - 0.05
                || place.1 >= area.3 - 0.05;
            assert!(apart, "`{words}` at {area:?} lies over `{other}` at {place:?}");
        }
    }
    for (i, element) in elements.iter().enumerate() {
        if !is_clipped(&elements, i)
            && let Some(area) = extent(element)
        {
            assert!(inside(area, view, 0.5), "{element:?} leaves {view:?}");
        }
    }
    elements
}

/// The visible texts.
pub fn words(elements: &[Element]) -> Vec<&str> {
    elements.iter().filter(|e| e.name == "text").map(|e| e.text.as_str()).collect()
}

fn root(elements: &[Element]) {
    let root = &elements[0];
    assert_eq!(root.name, "svg");
    assert_eq!(root.get("xmlns"), Some("http://www.w3.org/2000/svg"));
    assert_eq!(root.get("role"), Some("img"));
    let names: Vec<&str> = root.get("aria-labelledby").unwrap().split(' ').collect();
    let named = |tag: &str, id: &str| {
        let found = elements.iter().find(|e| e.name == tag && e.get("id") == Some(id));
        let found = found.unwrap_or_else(|| panic!("no <{tag}> has the id {id}"));
        assert!(!found.text.trim().is_empty(), "<{tag}> is empty");
    };
    assert_eq!(names.len(), 2);
    named("title", names[0]);
    named("desc", names[1]);
}

/// Nothing that touches the page around the figure, and no colour it cannot set.
fn ids_and_colours(elements: &[Element]) {
    let mut ids = BTreeSet::new();
    for element in elements {
        assert!(!["style", "script", "image", "use"].contains(&element.name.as_str()));
        if let Some(id) = element.get("id") {
            assert!(id.starts_with("viz-") && ids.insert(id.to_string()), "{id}");
        }
        assert!(element.get("class").is_none_or(|class| class.starts_with("viz")));
        let style = element.get("style").unwrap_or_default();
        for rule in style.split(';').filter(|rule| !rule.is_empty()) {
            let (property, value) = rule.split_once(':').unwrap();
            if ["fill", "stroke"].contains(&property) {
                let follows = value.starts_with("var(--") && value.contains(',');
                assert!(follows, "{rule}: has to follow the theme, with a fallback");
            }
        }
        for property in ["fill", "stroke"] {
            assert!(element.get(property).is_none_or(|value| value == "none"));
        }
        // A shape that names no colour would be drawn in the text's.
        let shape = ["rect", "circle", "path"].contains(&element.name.as_str());
        let clip = |i: usize| elements[i].name == "clipPath";
        if shape && !element.parent.is_some_and(clip) {
            let own = style.contains("fill:") || element.get("fill").is_some();
            assert!(own, "{element:?} has no fill of its own");
        }
    }
}

fn view(root: &Element) -> Area {
    let numbers: Vec<f64> =
        root.get("viewBox").unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
    (numbers[0], numbers[1], numbers[2], numbers[3])
}

/// Visible texts and the areas they take.
fn texts(elements: &[Element]) -> Vec<(&str, Area)> {
    elements.iter().filter(|e| e.name == "text").map(text).collect()
}

fn text(element: &Element) -> (&str, Area) {
    let size = if element.get("font-size").is_some() {
        element.number("font-size")
    } else {
        12.0
    };
    assert!(size >= 12.0, "`{}` is too small: {size}", element.text);
    let bold = element.get("font-weight").is_some();
    let (x, y) = (element.number("x"), element.number("y"));
    let width = text_width(&element.text, size, bold);
    let left = match element.get("text-anchor") {
        None => x,
        Some("middle") => x - width / 2.0,
        Some("end") => x - width,
        Some(other) => panic!("text-anchor {other}"),
    };
    let area = (left, y - 0.74 * size, left + width, y + 0.21 * size);
    (&element.text, area)
}

fn inside(area: Area, view: Area, slack: f64) -> bool {
    area.0 >= view.0 - slack
        && area.1 >= view.1 - slack
        && area.2 <= view.2 + slack
        && area.3 <= view.3 + slack
}

fn is_clipped(elements: &[Element], mut index: usize) -> bool {
    loop {
        if elements[index].get("clip-path").is_some() {
            return true;
        }
        match elements[index].parent {
            Some(parent) => index = parent,
            None => return false,
        }
    }
}

/// What a shape covers, its outline left out.
fn extent(element: &Element) -> Option<Area> {
    match element.name.as_str() {
        "rect" => {
            let (x, y) = (element.number("x"), element.number("y"));
            let (width, height) = (element.number("width"), element.number("height"));
            assert!(width >= 0.0 && height >= 0.0, "{element:?}");
            Some((x, y, x + width, y + height))
        }
        "circle" => {
            let (x, y) = (element.number("cx"), element.number("cy"));
            let r = element.number("r");
            Some((x - r, y - r, x + r, y + r))
        }
        "path" => {
            let d = element.get("d").unwrap();
            let numbers: Vec<f64> = d
                .split(|c: char| c.is_ascii_uppercase() || c == ' ')
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().unwrap_or_else(|_| panic!("`{part}` in {d}")))
                .collect();
            assert!(!numbers.is_empty() && numbers.len().is_multiple_of(2), "{d}");
            let ends = |skip: usize| {
                let values = || numbers.iter().skip(skip).step_by(2).copied();
                (
                    values().fold(f64::INFINITY, f64::min),
                    values().fold(f64::NEG_INFINITY, f64::max),
                )
            };
            let ((left, right), (top, bottom)) = (ends(0), ends(1));
            Some((left, top, right, bottom))
        }
        _ => None,
    }
}
