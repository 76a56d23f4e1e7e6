// Speech: the microphone, whose recording the server writes down, and answers read aloud by the browser.
import { attempt, byId, send, tell } from "./common.js";

const RATE = 16000;     // samples a second, as the server wants them
const LONGEST = 30000;  // milliseconds of a recording

/** Samples from -1 to 1 as a WAV file of 16 bits. */
export function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);  // PCM
  view.setUint16(22, 1, true);  // channels
  view.setUint32(24, RATE, true);
  view.setUint32(28, 2 * RATE, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true));
  return view.buffer;
}

/** What was recorded, whatever the browser's format, at the server's rate. */
async function resampled(blob) {
  const context = new AudioContext({ sampleRate: RATE });
  try {
    const sound = await context.decodeAudioData(await blob.arrayBuffer());
    return sound.getChannelData(0);
  } finally {
    await context.close();
  }
}

/** A button that records while it is pressed in; what was heard is given to `heard`. */
export function microphone(heard) {
  const speak = byId("speak");
  let recorder = null;
  speak.hidden = !navigator.mediaDevices || !window.MediaRecorder;
  speak.addEventListener("click", () => attempt(async () => {
    if (recorder) return recorder.stop();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch {
      return tell("The browser gives no microphone: allow it for this page, or connect one.", 8);
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => attempt(async () => {
      for (const track of stream.getTracks()) track.stop();
      recorder = null;
      pressed(false);
      const samples = await resampled(new Blob(parts));
      heard((await send("/api/speech", wav(samples), "audio/wav")).text);
    }));
    recorder.start();
    setTimeout((mine) => { if (mine.state === "recording") mine.stop(); }, LONGEST, recorder);
    return pressed(true);
  }));
  function pressed(is) {
    speak.setAttribute("aria-pressed", String(is));
    speak.textContent = is ? "Done" : "Speak";
  }
}

/** Read a text aloud, if the person wants that and the browser can. */
export function aloud(text) {
  if (!byId("aloud").checked || !window.speechSynthesis) return;
  speechSynthesis.cancel();
  speechSynthesis.speak(new SpeechSynthesisUtterance(text));
}
