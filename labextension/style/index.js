import 'uplot/dist/uPlot.min.css';
import './run.css';
import './study.css';
import './screens.css';
import './sidebar.css';
