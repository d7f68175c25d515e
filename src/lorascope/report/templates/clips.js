// Clips: a table to sort and filter, and of those that can be heard their sound, waveform, spectrogram and frame lens.
(async () => {
  const data = JSON.parse(await unpacked(document.getElementById("clip-data")));
  const by = (id) => document.getElementById(`clip-${id}`);
  const at = Object.fromEntries(data.columns.map((name, index) => [name, index]));
  const heads = { clip: "clip", speaker: "speaker", truth: `true ${data.task}`, fold: "fold", predicted: "answer", confidence: "its probability", gold: "probability of the true class", frozen: "frozen head's answer" };
  const state = { column: "confidence", sign: -1, shown: 50 };
  const head = by("table").tHead.insertRow();
  data.columns.forEach((name) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    const button = document.createElement("button");
    button.type = "button"; button.textContent = heads[name] ?? name;
    button.addEventListener("click", () => { state.sign = state.column === name ? -state.sign : 1; state.column = name; fill(); });
    cell.append(button); head.append(cell);
  });
  [...new Set(data.rows.map((row) => row[at.truth]))].sort().forEach((name) => by("class").add(new Option(name, name)));
  const fill = () => {
    const text = by("search").value.toLowerCase(), wanted = by("class").value, answer = by("answer").value, heard = by("heard")?.checked;
    const rows = data.rows.filter((row) => (!text || `${row[at.clip]} ${row[at.speaker]}`.toLowerCase().includes(text)) && (!wanted || row[at.truth] === wanted)
      && (!answer || (row[at.truth] === row[at.predicted]) === (answer === "right")) && (!heard || row[at.clip] in data.sounds));
    const column = at[state.column];
    rows.sort((a, b) => state.sign * (typeof a[column] === "number" || typeof b[column] === "number" ? (a[column] ?? -1) - (b[column] ?? -1) : String(a[column] ?? "").localeCompare(String(b[column] ?? ""))));
    [...head.cells].forEach((cell, index) => { if (index === column) cell.setAttribute("aria-sort", state.sign === 1 ? "ascending" : "descending"); else cell.removeAttribute("aria-sort"); });
    const body = by("table").tBodies[0];
    body.replaceChildren(...rows.slice(0, state.shown).map((row) => {
      const line = document.createElement("tr");
      data.columns.forEach((name, index) => {
        const cell = line.insertCell();
        const value = row[index];
        if (name === "clip") {
          const button = document.createElement("button");
          button.type = "button"; button.className = "clip";
          button.textContent = (value in data.sounds ? "▶ " : "") + value;
          button.addEventListener("click", () => open(value, true));
          cell.append(button);
        } else cell.textContent = value === null ? "–" : typeof value === "number" ? value.toFixed(3) : value;
        if (typeof value === "number") cell.className = "n";
        if (name === "predicted" && value !== row[at.truth]) cell.classList.add("wrong");
      });
      return line;
    }));
    by("count").textContent = `${rows.length} of ${data.rows.length} clips`;
    by("more").hidden = rows.length <= state.shown;
  };
  ["search", "class", "answer", "heard"].forEach((id) => by(id)?.addEventListener("input", () => { state.shown = 50; fill(); }));
  by("more").addEventListener("click", () => { state.shown += 200; fill(); });

  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const strip = (words, width, height, paint) => {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    canvas.width = width; canvas.height = height;
    canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", words);
    paint(canvas.getContext("2d"));
    const caption = document.createElement("figcaption");
    caption.textContent = words;
    figure.append(canvas, caption);
    return figure;
  };
  // rows from the bottom up, as frequency and depth are read
  const picture = ([rows, columns, text], colour) => (context) => {
    const values = bytes(text), image = context.createImageData(columns, rows);
    values.forEach((value, index) => {
      const row = rows - 1 - Math.floor(index / columns), place = 4 * (row * columns + index % columns);
      image.data.set([...colour(value / 255), 255], place);
    });
    context.putImageData(image, 0, 0);
  };
  const ramp = (stops) => (value) => {
    const place = value * (stops.length - 1), low = Math.floor(place), part = place - low, next = stops[Math.min(low + 1, stops.length - 1)];
    return stops[low].map((channel, index) => Math.round(channel + part * (next[index] - channel)));
  };
  const magma = ramp([[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]]);
  const blues = ramp([[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]]);
  let url = null;
  const open = (clip, go) => {
    const row = data.rows.find((one) => one[at.clip] === clip), sound = data.sounds[clip], frames = data.frames[clip];
    document.getElementById("clip").hidden = false;
    by("title").textContent = clip;
    by("words").textContent = row ? `${row[at.truth]}, speaker ${row[at.speaker]}: answered ${row[at.predicted]} (${row[at.confidence].toFixed(2)})${at.frozen === undefined || row[at.frozen] === null ? "" : `; the frozen head: ${row[at.frozen]}`}` : "not among the test clips";
    by("audio").hidden = !sound;
    const strips = [];
    if (sound) {
      if (url) URL.revokeObjectURL(url);
      by("audio").src = url = URL.createObjectURL(new Blob([bytes(sound.flac)], { type: "audio/flac" }));
      const ink = getComputedStyle(document.documentElement).getPropertyValue("--link");
      strips.push(strip(`waveform, ${sound.seconds.toFixed(1)} s`, sound.wave.length, 60, (context) => {
        context.fillStyle = ink;
        sound.wave.forEach((height, index) => context.fillRect(index, 30 - 29 * height, 1, Math.max(1, 58 * height)));
      }));
      strips.push(strip("log-mel spectrogram, 0 to 8 kHz", sound.mel[1], sound.mel[0], picture(sound.mel, magma)));
    }
    for (const [model, grid] of Object.entries(frames ?? {})) strips.push(strip(`frame lens, ${model}: probability of ${row?.[at.truth] ?? "its class"} by depth (bottom: embedding) and time`, grid[1], grid[0], picture(grid, blues)));
    by("strips").replaceChildren(...strips.map((figure) => { const cursor = document.createElement("span"); cursor.className = "cursor"; figure.prepend(cursor); return figure; }));
    if (go && location.hash.split(";")[0] !== "#clips") location.hash = ["#clips", ...location.hash.split(";").slice(1)].join(";");
    if (sound) by("audio").play().catch(() => {}); // a browser may want a press of its own
    if (go) document.getElementById("clip").scrollIntoView({ block: "nearest" });
  };
  const follow = () => {
    const audio = by("audio");
    if (audio.duration) by("strips").querySelectorAll(".cursor").forEach((cursor) => { cursor.style.left = `${100 * audio.currentTime / audio.duration}%`; });
    if (!audio.paused) requestAnimationFrame(follow);
  };
  by("audio").addEventListener("play", follow);
  by("audio").addEventListener("seeked", follow);
  document.addEventListener("clip", ({ detail }) => open(detail, false));
  fill();
})();
