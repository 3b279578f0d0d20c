//! Plain text from the pages that mdBook makes.

use html5gum::{DefaultEmitter, StartTag, Token, Tokenizer};

/// The tags, texts and ends of a page.
fn tokens(page: &str) -> impl Iterator<Item = Token> {
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    Tokenizer::new_with_emitter(page, emitter).map(|token| token.unwrap_or_else(|never| match never {}))
}

fn attribute<'a>(tag: &'a StartTag<()>, name: &str) -> Option<&'a str> {
    std::str::from_utf8(tag.attributes.get(name.as_bytes())?).ok()
}

fn has_class(tag: &StartTag<()>, class: &str) -> bool {
    attribute(tag, "class").is_some_and(|classes| classes.split_ascii_whitespace().any(|c| c == class))
}

/// The pages that a table of contents (`<ol class="chapter">`) leads to, each once.
pub fn chapters(page: &str) -> Vec<String> {
    let (mut depth, mut chapters) = (0, Vec::new());
    for token in tokens(page) {
        match token {
            Token::StartTag(tag) if &**tag.name == b"ol" && (depth > 0 || has_class(&tag, "chapter")) => {
                depth += 1;
            }
            Token::EndTag(tag) if &**tag.name == b"ol" && depth > 0 => depth -= 1,
            Token::StartTag(tag) if &**tag.name == b"a" && depth > 0 => {
                let page = attribute(&tag, "href").and_then(|href| href.split('#').next());
                if let Some(page) = page.filter(|p| p.ends_with(".html") && !p.contains("://"))
                    && !chapters.iter().any(|chapter| chapter == page)
                {
                    chapters.push(page.to_owned());
                }
            }
            _ => {}
        }
    }
    chapters
}

/// The text within `<main>`: paragraphs on one line each, an empty line between blocks, code as it stands
/// without the lines that the page hides (class `boring`).
pub fn main_text(page: &str) -> String {
    let mut text = Text::default();
    let mut inside = false;
    // the element that is left out, and how many of its name are open
    let mut hidden: Option<(Vec<u8>, usize)> = None;
    for token in tokens(page) {
        match token {
            Token::StartTag(tag) if &**tag.name == b"main" => inside = true,
            Token::EndTag(tag) if &**tag.name == b"main" => inside = false,
            _ if !inside => {}
            Token::StartTag(tag) => match &mut hidden {
                Some((name, open)) => *open += usize::from(*name == **tag.name),
                None if is_hidden(&tag) => hidden = Some((tag.name.to_vec(), 1)),
                None => text.open(&tag.name),
            },
            Token::EndTag(tag) => match &mut hidden {
                Some((name, open)) if *name == **tag.name => {
                    *open -= 1;
                    if *open == 0 {
                        hidden = None;
                    }
                }
                Some(_) => {}
                None => text.close(&tag.name),
            },
            Token::String(string) if hidden.is_none() => text.push(&String::from_utf8_lossy(&string)),
            _ => {}
        }
    }
    text.out
}

fn is_hidden(tag: &StartTag<()>) -> bool {
    matches!(&**tag.name, b"script" | b"style" | b"nav" | b"button" | b"svg" | b"template")
        || has_class(tag, "boring")
}

/// Text in the making.
#[derive(Default)]
struct Text {
    out: String,
    /// Newlines to come before the next text.
    breaks: usize,
    /// Whether a space comes before the next text on the same line.
    space: bool,
    code: bool,
}

impl Text {
    /// How many newlines set an element apart.
    fn breaks_of(name: &[u8]) -> usize {
        match name {
            b"p" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"pre" | b"ul" | b"ol" | b"table"
            | b"figure" | b"figcaption" | b"blockquote" | b"section" | b"div" | b"hr" => 2,
            b"li" | b"tr" | b"br" => 1,
            _ => 0,
        }
    }

    fn open(&mut self, name: &[u8]) {
        self.breaks = self.breaks.max(Self::breaks_of(name));
        self.space |= matches!(name, b"td" | b"th");
        self.code |= name == b"pre";
    }

    fn close(&mut self, name: &[u8]) {
        if name == b"pre" {
            self.code = false;
            self.out.truncate(self.out.trim_end().len());
        }
        self.breaks = self.breaks.max(Self::breaks_of(name));
    }

    fn push(&mut self, string: &str) {
        if self.code {
            let string = if self.breaks > 0 { string.trim_start_matches('\n') } else { string };
            if !string.is_empty() {
                self.separate();
                self.out += string;
            }
            return;
        }
        for (i, word) in string.split_ascii_whitespace().enumerate() {
            self.space |= i > 0 || string.starts_with(|c: char| c.is_ascii_whitespace());
            self.separate();
            self.out += word;
        }
        self.space |= string.ends_with(|c: char| c.is_ascii_whitespace());
    }

    /// Writes the newlines or the space that are due.
    fn separate(&mut self) {
        if !self.out.is_empty() {
            if self.breaks > 0 {
                self.out.extend(std::iter::repeat_n('\n', self.breaks));
            } else if self.space && !self.code {
                self.out.push(' ');
            }
        }
        (self.breaks, self.space) = (0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_code_and_tables_become_text() {
        let page = "<nav>menu</nav><main><h2 id=\"a\"><a href=\"#a\">A &amp; B</a></h2>\n<p>One <em>two</em>,\n\
            three<!-- ignore -->. <code>x</code></p><pre><code>fn main() {\n    let x = &quot;1&quot;;\n}\n</code>\
            </pre><ul><li>first</li>\n<li>second</li></ul><table><tr><td>a</td><td>b</td></tr></table>\
            <script>if (a<b) \"</main>\"</script><p>End.</p></main><p>foot</p>";
        let text = "A & B\n\nOne two, three. x\n\nfn main() {\n    let x = \"1\";\n}\n\nfirst\nsecond\n\na b\n\nEnd.";
        assert_eq!(main_text(page), text);
    }

    #[test]
    fn hidden_lines_are_left_out() {
        let page = "<main><pre><code><span class=\"boring\">fn main() {\n</span>    a <span>+</span> b;\n\
            <span class=\"boring\">    <span>}</span>\n}</span></code></pre></main>";
        assert_eq!(main_text(page), "    a + b;");
    }

    #[test]
    fn the_table_of_contents_is_followed_once() {
        let page = "<a href=\"print.html\">all</a><ol class=\"chapter\"><li><a href=\"b.html\">B</a></li>\
            <ol class=\"section\"><li><a href=\"a.html#x\">A</a></li></ol><li><a href=\"b.html\">B</a></li></ol>\
            <a href=\"c.html\">C</a>";
        assert_eq!(chapters(page), ["b.html", "a.html"]);
    }
}
