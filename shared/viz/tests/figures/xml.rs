//! A small reader of XML, strict where an SVG could be wrong.

use std::collections::BTreeMap;

/// An element, with what it is inside of.
#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// Its own text, entities resolved.
    pub text: String,
    /// The index of its parent in the list of elements.
    pub parent: Option<usize>,
}

impl Element {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// An attribute that has to be a number.
    pub fn number(&self, name: &str) -> f64 {
        let text = self.get(name).unwrap_or_else(|| panic!("{self:?} has no {name}"));
        text.parse().unwrap_or_else(|_| panic!("{name}=\"{text}\" is not a number"))
    }
}

/// The elements of a document in their order.
///
/// # Errors
///
/// Tags that do not match, attributes without quotes or given twice, bare `<` and `&`,
/// unknown entities, control characters, anything after the root.
pub fn parse(document: &str) -> Result<Vec<Element>, String> {
    let mut elements: Vec<Element> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut rest = document;
    while !rest.is_empty() {
        let Some(text_end) = rest.find('<') else {
            return if rest.trim().is_empty() && open.is_empty() {
                Ok(elements)
            } else {
                Err(format!("the document ends inside an element: {rest}"))
            };
        };
        let text = resolve(&rest[..text_end])?;
        match open.last() {
            Some(parent) => elements[*parent].text.push_str(&text),
            None if text.trim().is_empty() => {}
            None => return Err(format!("text outside the root: {text}")),
        }
        let tag_end = rest.find('>').ok_or("a tag without an end")?;
        let tag = &rest[text_end + 1..tag_end];
        if tag.contains('<') {
            return Err(format!("a bare < in <{tag}>"));
        }
        rest = &rest[tag_end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let started = open.pop().ok_or(format!("</{name}> closes nothing"))?;
            if elements[started].name != name {
                return Err(format!("</{name}> closes <{}>", elements[started].name));
            }
            continue;
        }
        if open.is_empty() && !elements.is_empty() {
            return Err(format!("a second root, <{tag}>"));
        }
        let (tag, alone) =
            tag.strip_suffix('/').map_or((tag, false), |tag| (tag.trim_end(), true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(format!("a strange name in <{tag}>"));
        }
        let attributes = attributes_of(attributes)?;
        let parent = open.last().copied();
        let text = String::new();
        elements.push(Element { name: name.to_string(), attributes, text, parent });
        if !alone {
            open.push(elements.len() - 1);
        }
    }
    if open.is_empty() { Ok(elements) } else { Err("an element without an end".into()) }
}

fn attributes_of(mut rest: &str) -> Result<BTreeMap<String, String>, String> {
    let mut attributes = BTreeMap::new();
    while !rest.trim().is_empty() {
        let (name, after) =
            rest.split_once("=\"").ok_or(format!("`{rest}`, no value"))?;
        let (value, after) =
            after.split_once('"').ok_or(format!("`{after}`, no quote"))?;
        let name = name.trim();
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ':') {
            return Err(format!("a strange attribute `{name}`"));
        }
        if attributes.insert(name.to_string(), resolve(value)?).is_some() {
            return Err(format!("the attribute `{name}` twice"));
        }
        if !after.is_empty() && !after.starts_with(' ') {
            return Err(format!("no space before `{after}`"));
        }
        rest = after;
    }
    Ok(attributes)
}

fn resolve(text: &str) -> Result<String, String> {
    if let Some(c) = text.chars().find(|c| c.is_control() && *c != '\n') {
        return Err(format!("the control character {c:?}"));
    }
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, after) =
            part.split_once(';').ok_or(format!("a bare & before {part}"))?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "#39" => '\'',
            _ => return Err(format!("the entity &{name};")),
        });
        out.push_str(after);
    }
    Ok(out)
}

#[test]
fn what_is_not_well_formed_is_refused() {
    assert_eq!(parse("<a b=\"1\"><c/>x &amp; y</a>\n").unwrap()[0].text, "x & y");
    for bad in [
        "<a>",
        "<a></b>",
        "<a b=1/>",
        "<a b=\"1\" b=\"2\"/>",
        "<a>&</a>",
        "<a>&nbsp;</a>",
        "<a/><b/>",
        "<a b=\"<\"/>",
        "<a>\u{1}</a>",
        "<a/>x",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
