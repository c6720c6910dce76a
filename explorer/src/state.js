// The state is the address: #view=map&arch=…&model=… opens what it says.
export class State {
  /** allowed: name → the values that it can have, where these are few. */
  constructor(defaults, allowed) {
    Object.assign(this, { defaults, allowed });
    this.listeners = [];
    this.values = { ...defaults };
    this.read();
    window.addEventListener("hashchange", () => {
      if (location.hash === this.written) return;
      this.read();
      this.tell(Object.keys(this.defaults));
    });
  }

  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const name in this.defaults) {
      const value = given.get(name),
        known = this.allowed[name]?.includes(value) ?? true;
      this.values[name] = value !== null && known ? value : this.defaults[name];
    }
    if (!given.has("view") && given.has("arch")) this.values.view = "bench";
  }

  get(name) {
    return this.values[name];
  }

  set(changes) {
    const changed = Object.keys(changes).filter((name) => this.values[name] !== changes[name]);
    if (!changed.length) return;
    Object.assign(this.values, changes);
    const told = new URLSearchParams();
    for (const name in this.defaults) {
      if (name === "view" || this.values[name] !== this.defaults[name])
        told.set(name, this.values[name]);
    }
    this.written = `#${told}`;
    history.replaceState(null, "", this.written);
    this.tell(changed);
  }

  listen(listener) {
    this.listeners.push(listener);
  }
  tell(changed) {
    for (const listener of this.listeners) listener(new Set(changed));
  }
}
