import { render } from "preact";
import { App } from "./app";
import { keepUpToDate, start } from "./state";
import "./style.css";

keepUpToDate();
void start();
const place = document.getElementById("studio");
if (place !== null) {
  place.replaceChildren();
  render(<App />, place);
}
