"use strict";
// Search and download: the only things on the page that need a script. Nothing here makes markup of text.
(() => {
  const element = (id) => document.getElementById(id);
  const events = [...document.querySelectorAll("li.event")];
  const stages = [...document.querySelectorAll("li.stage")];
  const [search, flagged, found] = [element("search"), element("flagged"), element("found")];
  let texts = null;

  // `pcr:11 word` finds events of PCR 11 with that word.
  const wanted = (query) => {
    const words = query.toLowerCase().split(/\s+/).filter((word) => word);
    const registers = words.filter((word) => /^pcr:\d+$/.test(word)).map((word) => "PCR " + word.slice(4));
    const others = words.filter((word) => !/^pcr:\d+$/.test(word));
    return (event, text) =>
      (!registers.length || registers.includes(event.dataset.register)) && others.every((word) => text.includes(word));
  };

  const filter = () => {
    texts ??= events.map((event) => event.textContent.toLowerCase());
    const matches = wanted(search.value);
    let count = 0;
    events.forEach((event, index) => {
      const shown = matches(event, texts[index]) && (!flagged.checked || event.classList.contains("flagged"));
      event.hidden = !shown;
      count += shown;
    });
    for (const stage of stages) stage.hidden = !stage.querySelector("li.event:not([hidden])");
    const all = !search.value.trim() && !flagged.checked;
    found.textContent = all ? "" : `${count} of ${events.length} events`;
  };

  let timer = 0;
  search.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(filter, 80);
  });
  flagged.addEventListener("change", filter);

  const fold = (open) => () => {
    for (const event of events) if (!event.hidden) event.firstElementChild.open = open;
  };
  element("unfold").addEventListener("click", fold(true));
  element("fold").addEventListener("click", fold(false));

  const data = element("data");
  if (data) element("save").href = URL.createObjectURL(new Blob([data.textContent], { type: "application/json" }));

  // `#q=text` searches; an event's own name opens it.
  const follow = () => {
    const hash = location.hash.slice(1);
    if (hash.startsWith("q=")) {
      try {
        search.value = decodeURIComponent(hash.slice(2));
      } catch {
        search.value = hash.slice(2);
      }
      filter();
      return;
    }
    const target = hash && element(hash);
    if (!target) return;
    for (let parent = target; parent; parent = parent.parentElement) if (parent.tagName === "DETAILS") parent.open = true;
    if (target.hidden) {
      search.value = "";
      flagged.checked = false;
      filter();
    }
    if (target.classList.contains("event")) {
      target.firstElementChild.open = true;
      target.scrollIntoView();
      target.querySelector("summary").focus({ preventScroll: true });
    }
  };
  addEventListener("hashchange", follow);

  if (!events.some((event) => event.classList.contains("flagged"))) flagged.parentElement.hidden = true;
  element("tools").hidden = false;
  follow();
})();
