// The viewer of report.html: three linked planes of a study under its heat map, drawn on 2D canvases.
//
// The page carries the voxels (outputs/packing.py) and their places (outputs/viewer.py); nothing is fetched. A point is
// [x, y, z] in the box, in mm: x to the patient's left, y to posterior, z to the head. Each volume's affine takes it to
// that volume's own voxels (column, row, slice), so that sequences of any grid are looked at in the same place.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const viewer = byId("viewer");
  if (!viewer) return;
  const setup = JSON.parse(byId("viewer-setup").textContent);
  const LETTERS = ["RL", "AP", "FH"]; // of a negative and of a positive LPS coordinate
  const SMALLEST_GAP_PX = 14; // half of the cross-hair's free middle
  const WHEEL_STEP_PX = 40;

  // Axes of the box that run across, down and through each plane; slices of the latter two run up.
  const PLANES = {
    axial: { across: 0, down: 1, through: 2, upsideDown: false },
    coronal: { across: 0, down: 2, through: 1, upsideDown: true },
    sagittal: { across: 1, down: 2, through: 0, upsideDown: true },
  };
  const volumes = {}; // by name: setup's entry with its levels, once they are inflated
  const windows = {}; // by name: {low, high}, as the reader has set it
  const state = {
    point: [...setup.start_mm], shown: setup.first, heat: "heat" in setup.volumes, cross: true,
    opacity: Number(byId("opacity")?.value ?? 0) / 100,
  };

  // ---- voxels ----------------------------------------------------------------------------------------------------

  async function inflate(name) {
    const text = atob(byId(`volume-${name}`).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const levels = new Uint8Array(await new Response(stream).arrayBuffer());
    for (let i = 1; i < levels.length; i++) levels[i] += levels[i - 1]; // they are differences, modulo 256
    const volume = { ...setup.volumes[name], levels };
    if (levels.length !== volume.size[0] * volume.size[1] * volume.size[2]) throw new Error(`${name} is incomplete`);
    return volume;
  }

  // Each volume is inflated once, when it is first asked for.
  const pending = {};
  function load(name) {
    pending[name] ??= inflate(name).then((volume) => {
      volumes[name] = volume;
      windows[name] ??= { low: volume.window[0], high: volume.window[1] };
    });
    return pending[name];
  }

  const digits = (value) => String(Number(value.toPrecision(4)));

  const voxelAt = (volume, point) =>
    volume.voxel_from_box.map((row) => row[0] * point[0] + row[1] * point[1] + row[2] * point[2] + row[3]);

  // The level 0 to 255 at a voxel position, interpolated; 0 outside the volume.
  function levelAt(volume, x, y, z) {
    const [nx, ny, nz] = volume.size;
    if (!(x >= -0.5 && y >= -0.5 && z >= -0.5 && x <= nx - 0.5 && y <= ny - 0.5 && z <= nz - 0.5)) return 0;
    x = Math.min(Math.max(x, 0), nx - 1);
    y = Math.min(Math.max(y, 0), ny - 1);
    z = Math.min(Math.max(z, 0), nz - 1);
    const x0 = Math.floor(x), y0 = Math.floor(y), z0 = Math.floor(z);
    const fx = x - x0, fy = y - y0, fz = z - z0;
    const dx = x0 + 1 < nx ? 1 : 0, dy = y0 + 1 < ny ? nx : 0, dz = z0 + 1 < nz ? nx * ny : 0;
    const v = volume.levels, i = (z0 * ny + y0) * nx + x0;
    const near = (v[i] * (1 - fx) + v[i + dx] * fx) * (1 - fy) + (v[i + dy] * (1 - fx) + v[i + dy + dx] * fx) * fy;
    if (!fz || !dz) return near;
    const j = i + dz;
    const far = (v[j] * (1 - fx) + v[j + dx] * fx) * (1 - fy) + (v[j + dy] * (1 - fx) + v[j + dy + dx] * fx) * fy;
    return near * (1 - fz) + far * fz;
  }

  // Levels of one plane through the cross-hair, row by row, `width` x `height` pixels over the whole box.
  function cut(volume, plane, width, height) {
    const { across, down, through, upsideDown } = PLANES[plane];
    const levels = new Float32Array(width * height);
    const stepX = setup.size_mm[across] / width, stepY = setup.size_mm[down] / height;
    const [a, b, c] = volume.voxel_from_box;
    const point = [0, 0, 0];
    point[through] = state.point[through];
    for (let row = 0, i = 0; row < height; row++) {
      point[down] = (upsideDown ? height - row - 0.5 : row + 0.5) * stepY;
      point[across] = 0.5 * stepX;
      let [x, y, z] = voxelAt(volume, point);
      for (let column = 0; column < width; column++, i++) {
        levels[i] = levelAt(volume, x, y, z);
        x += a[across] * stepX;
        y += b[across] * stepX;
        z += c[across] * stepX;
      }
    }
    return levels;
  }

  // ---- drawing ---------------------------------------------------------------------------------------------------

  const picture = document.createElement("canvas"); // one plane at the pixels of the box, before it is scaled

  function paint(plane) {
    const { across, down } = PLANES[plane];
    const width = Math.max(1, Math.round(setup.size_mm[across] / setup.pixel_mm));
    const height = Math.max(1, Math.round(setup.size_mm[down] / setup.pixel_mm));
    const image = new ImageData(width, height), rgba = image.data;
    const grey = volumes[state.shown], heat = state.heat ? volumes.heat : undefined;
    const greys = grey && cut(grey, plane, width, height), heats = heat && cut(heat, plane, width, height);
    const { low, high } = windows[state.shown] ?? { low: 0, high: 1 };
    const scale = grey ? (grey.high - grey.low) / 255 : 0, slope = 255 / Math.max(high - low, 1e-9);
    for (let i = 0, j = 0; i < width * height; i++, j += 4) {
      // Without a series the heat lies on a plain grey.
      const value = grey ? Math.min(255, Math.max(0, (grey.low + greys[i] * scale - low) * slope)) : 48;
      const level = heat ? Math.round(heats[i]) : 0;
      const alpha = heat ? setup.alphas[level] * state.opacity : 0;
      const colour = setup.colours[level];
      rgba[j] = value + (colour[0] - value) * alpha;
      rgba[j + 1] = value + (colour[1] - value) * alpha;
      rgba[j + 2] = value + (colour[2] - value) * alpha;
      rgba[j + 3] = 255;
    }
    picture.width = width;
    picture.height = height;
    picture.getContext("2d").putImageData(image, 0, 0);
  }

  // Where the box lies on a plane's canvas, in CSS pixels: all planes have one scale unless one is enlarged.
  function placeOf(plane) {
    const { across, down } = PLANES[plane], { canvas, figure } = panes[plane];
    const width = canvas.clientWidth, height = canvas.clientHeight;
    const [w, h] = figure.classList.contains("large")
      ? [setup.size_mm[across], setup.size_mm[down]] : [Math.max(...setup.size_mm), Math.max(...setup.size_mm)];
    const scale = Math.min(width / w, height / h); // CSS pixels per mm
    return {
      scale, left: (width - setup.size_mm[across] * scale) / 2, top: (height - setup.size_mm[down] * scale) / 2,
      width: setup.size_mm[across] * scale, height: setup.size_mm[down] * scale,
    };
  }

  function draw(plane) {
    const { canvas } = panes[plane], { across, down, upsideDown } = PLANES[plane];
    const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingQuality = "high";
    paint(plane);
    const place = placeOf(plane);
    context.drawImage(picture, place.left, place.top, place.width, place.height);
    if (!state.cross) return;
    const x = place.left + state.point[across] * place.scale;
    const y = place.top + (upsideDown ? setup.size_mm[down] - state.point[down] : state.point[down]) * place.scale;
    context.strokeStyle = "#8fd3ff";
    context.lineWidth = 1;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [
      [place.left, y, x - SMALLEST_GAP_PX, y], [x + SMALLEST_GAP_PX, y, place.left + place.width, y],
      [x, place.top, x, y - SMALLEST_GAP_PX], [x, y + SMALLEST_GAP_PX, x, place.top + place.height],
    ]) {
      if (x1 < x0 || y1 < y0) continue; // the middle reaches over the edge
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
  }

  // The colours as they lie over a middle grey at this opacity, from no heat to the most.
  function drawLegend() {
    const canvas = byId("legend");
    if (!canvas) return;
    canvas.width = 256;
    canvas.height = 1;
    const image = new ImageData(256, 1);
    for (let level = 0; level < 256; level++) {
      const alpha = setup.alphas[level] * state.opacity;
      for (let k = 0; k < 3; k++) image.data[4 * level + k] = 90 + (setup.colours[level][k] - 90) * alpha;
      image.data[4 * level + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // ---- the page around the pictures --------------------------------------------------------------------------------

  const panes = {};
  for (const figure of viewer.querySelectorAll("figure[data-plane]")) {
    panes[figure.dataset.plane] = {
      figure, canvas: figure.querySelector("canvas"), slider: figure.querySelector("input"),
      number: figure.querySelector("output"), enlarge: figure.querySelector("button"),
    };
  }

  function positionWords() {
    const lps = setup.lps_from_box.map((row) => row.reduce((sum, v, i) => sum + v * [...state.point, 1][i], 0));
    return lps.map((mm, i) => `${LETTERS[i][mm >= 0 ? 1 : 0]} ${Math.abs(mm).toFixed(0)}`).join(", ") + " mm";
  }

  // The slices that a plane's slider counts: those of the series that is shown, else those of the heat map.
  const counted = () => volumes[state.shown] ?? volumes.heat;

  function sliceOf(plane) {
    const { through } = PLANES[plane], volume = counted();
    const last = volume.size[through] - 1;
    const index = Math.min(Math.max(Math.round(voxelAt(volume, state.point)[through]), 0), last);
    return { index, number: volume.first[through] + index + 1, of: volume.count[through] };
  }

  function tell() {
    const at = positionWords();
    for (const [plane, { slider, number, canvas }] of Object.entries(panes)) {
      const { through } = PLANES[plane], volume = counted(), slice = sliceOf(plane);
      slider.min = volume.first[through] + 1;
      slider.max = volume.first[through] + volume.size[through];
      slider.value = slice.number;
      slider.setAttribute("aria-valuetext", `slice ${slice.number} of ${slice.of}`);
      number.textContent = `${slice.number}/${slice.of}`;
      canvas.setAttribute("aria-label", `${plane} plane, slice ${slice.number} of ${slice.of}, at ${at}`);
    }
    const words = [`Cross-hair at ${at}`];
    const read = (volume) => volume.low + (levelAt(volume, ...voxelAt(volume, state.point)) * (volume.high - volume.low)) / 255;
    if (volumes[state.shown]) words.push(`${state.shown} ${digits(read(volumes[state.shown]))}`);
    if (volumes.heat) words.push(`heat ${read(volumes.heat).toFixed(2)}`);
    byId("readout").textContent = words.join(" · ");
    const set = windows[state.shown], volume = volumes[state.shown];
    if (set && volume) {
      const range = volume.high - volume.low, step = range / 255;
      for (const [id, min, max, value] of [
        ["centre", volume.low, volume.high, (set.low + set.high) / 2], ["width", step, range, set.high - set.low],
      ]) {
        Object.assign(byId(id), { min, max, step, value });
        byId(`${id}-value`).textContent = digits(value);
      }
    }
    if (byId("opacity")) {
      byId("opacity").value = Math.round(state.opacity * 100);
      byId("opacity-value").textContent = `${Math.round(state.opacity * 100)} %`;
      byId("heat-shown").checked = state.heat;
    }
    byId("cross-shown").checked = state.cross;
    for (const radio of viewer.querySelectorAll("input[name=sequence]")) radio.checked = radio.value === state.shown;
  }

  let asked = false;
  function refresh() {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      for (const plane of Object.keys(panes)) draw(plane);
      drawLegend();
      tell();
    });
  }

  // ---- what the reader does ----------------------------------------------------------------------------------------

  function moveTo(axis, mm) {
    state.point[axis] = Math.min(Math.max(mm, 0), setup.size_mm[axis]);
  }

  // Put the cross-hair in the middle of a slice of the series that is shown; the other two coordinates stay.
  function toSlice(plane, index) {
    const { through } = PLANES[plane], volume = counted();
    const target = Math.min(Math.max(index, 0), volume.size[through] - 1);
    const ahead = target - voxelAt(volume, state.point)[through];
    moveTo(through, state.point[through] + ahead / volume.voxel_from_box[through][through]);
    refresh();
  }

  function setWindow(centre, width) {
    const volume = volumes[state.shown];
    if (!volume) return;
    const range = volume.high - volume.low;
    width = Math.min(Math.max(width, range / 255), range);
    centre = Math.min(Math.max(centre, volume.low), volume.high);
    windows[state.shown] = { low: centre - width / 2, high: centre + width / 2 };
    refresh();
  }

  async function show(name) {
    if (!(name in setup.volumes)) return;
    await load(name);
    state.shown = name;
    refresh();
  }

  function toPoint(plane, event) {
    const { across, down, upsideDown } = PLANES[plane], place = placeOf(plane);
    const bounds = panes[plane].canvas.getBoundingClientRect();
    const y = (event.clientY - bounds.top - place.top) / place.scale;
    moveTo(across, (event.clientX - bounds.left - place.left) / place.scale);
    moveTo(down, upsideDown ? setup.size_mm[down] - y : y);
    refresh();
  }

  function enlarge(plane) {
    for (const [name, pane] of Object.entries(panes)) {
      const large = name === plane && !pane.figure.classList.contains("large");
      pane.figure.classList.toggle("large", large);
      pane.enlarge.setAttribute("aria-pressed", String(large));
      pane.enlarge.textContent = large ? "Reduce" : "Enlarge";
    }
    refresh();
  }

  const resetWindow = () => {
    const volume = volumes[state.shown];
    if (volume) setWindow((volume.window[0] + volume.window[1]) / 2, volume.window[1] - volume.window[0]);
  };
  const toPeak = () => { state.point = [...setup.start_mm]; refresh(); };
  const toggle = (what) => { state[what] = !state[what]; refresh(); };

  for (const [plane, { canvas, slider, enlarge: button }] of Object.entries(panes)) {
    const { across, down, through, upsideDown } = PLANES[plane];
    slider.addEventListener("input", () => toSlice(plane, Number(slider.value) - 1 - counted().first[through]));
    button.addEventListener("click", () => enlarge(plane));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    let touched = false;
    canvas.addEventListener("pointerdown", (event) => {
      touched = event.pointerType === "touch"; // a finger may be about to scroll the page: its tap is a click
      if (touched) return;
      canvas.setPointerCapture(event.pointerId);
      if (event.button === 0) toPoint(plane, event);
    });
    canvas.addEventListener("click", (event) => { if (touched) toPoint(plane, event); });
    canvas.addEventListener("pointermove", (event) => {
      if (event.buttons === 1 && event.pointerType !== "touch") toPoint(plane, event);
      const set = windows[state.shown], volume = volumes[state.shown];
      if (event.buttons !== 2 || !set || !volume) return;
      const unit = (volume.high - volume.low) / 400;
      setWindow((set.low + set.high) / 2 + event.movementY * unit, set.high - set.low + event.movementX * unit);
    });
    let wheel = 0;
    canvas.addEventListener("wheel", (event) => {
      if (event.ctrlKey) return; // the browser's own zoom
      event.preventDefault();
      wheel += event.deltaMode === 0 ? event.deltaY : event.deltaY * WHEEL_STEP_PX;
      const steps = Math.trunc(wheel / WHEEL_STEP_PX);
      wheel -= steps * WHEEL_STEP_PX;
      if (steps) toSlice(plane, sliceOf(plane).index - steps);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const up = upsideDown ? 1 : -1, index = sliceOf(plane).index;
      const step = { ArrowLeft: [across, -1], ArrowRight: [across, 1], ArrowUp: [down, up], ArrowDown: [down, -up] }[event.key];
      const slice = { PageUp: index + 1, PageDown: index - 1, Home: 0, End: Infinity }[event.key];
      if (step) {
        moveTo(step[0], state.point[step[0]] + step[1] * setup.pixel_mm);
        refresh();
      } else if (slice !== undefined) {
        toSlice(plane, slice);
      } else return;
      event.preventDefault();
    });
  }

  // Single letters act only while the focus is within the viewer, so that they do not get in a screen reader's way.
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const names = Object.keys(setup.volumes).filter((name) => name !== "heat");
    if (event.key >= "1" && event.key <= "9") show(names[Number(event.key) - 1]);
    else if (event.key === "h" && "heat" in setup.volumes) toggle("heat");
    else if (event.key === "x") toggle("cross");
    else if (event.key === "p") toPeak();
    else if (event.key === "r") resetWindow();
  });

  const on = (id, kind, act) => byId(id)?.addEventListener(kind, act);
  on("centre", "input", (event) => setWindow(Number(event.target.value), windows[state.shown].high - windows[state.shown].low));
  on("width", "input", (event) =>
    setWindow((windows[state.shown].low + windows[state.shown].high) / 2, Number(event.target.value)));
  on("opacity", "input", (event) => { state.opacity = Number(event.target.value) / 100; refresh(); });
  on("heat-shown", "change", () => toggle("heat"));
  on("cross-shown", "change", () => toggle("cross"));
  on("to-peak", "click", toPeak);
  on("reset-window", "click", resetWindow);
  for (const radio of viewer.querySelectorAll("input[name=sequence]")) radio.addEventListener("change", () => show(radio.value));

  // ---- the beginning -------------------------------------------------------------------------------------------------

  async function begin() {
    await Promise.all(["heat", state.shown].filter((name) => name in setup.volumes).map(load));
    viewer.hidden = false;
    const still = byId("still");
    if (still) still.hidden = true;
    new ResizeObserver(refresh).observe(viewer);
    refresh();
    for (const name of Object.keys(setup.volumes)) await load(name); // so that the others are there when asked for
  }
  begin().catch((error) => {
    viewer.hidden = true;
    if (byId("still")) byId("still").hidden = false;
    byId("viewer-problem").hidden = false;
    console.warn(String(error));
  });
})();
